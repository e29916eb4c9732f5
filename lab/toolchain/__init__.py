"""The upstream programs and the Python environment that the lab runs on.

Only the standard library is used here: this package runs before there is an
environment to run anything else in. The lab itself needs :class:`Toolchain` alone.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - told before newer syntax is met
    raise SystemExit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")

from lab.toolchain.errors import ToolchainError
from lab.toolchain.toolchain import Toolchain

__all__ = ["Toolchain", "ToolchainError"]
