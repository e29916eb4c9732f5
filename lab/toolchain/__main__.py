"""``python3 -m lab.toolchain``: set up, check the machine, enter the environment."""

import sys

from lab.toolchain.bootstrap import main

if __name__ == "__main__":
    sys.exit(main())
