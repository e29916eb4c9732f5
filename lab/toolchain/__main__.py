"""``python3 -m lab.toolchain``: set up, check the machine, enter the environment."""

from __future__ import annotations

import sys

from lab.toolchain.bootstrap import main

if __name__ == "__main__":
    sys.exit(main())
