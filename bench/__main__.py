"""``python -m bench``: the command line (:mod:`cli`)."""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
