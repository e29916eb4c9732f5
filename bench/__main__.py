"""``python -m bench``: the command line (:mod:`cli`)."""

import sys

if __name__ == "__main__":
    try:
        from cli.main import main
    except KeyboardInterrupt:  # its modules take a second to read
        print("bench: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(main())
