"""The upstream programs and the Python environment that the lab runs on.

``python3 -m lab.toolchain`` (:mod:`.bootstrap`) runs on the system's Python and makes the
environment; everything else goes on in the environment (:mod:`.commands`). The lab itself needs
:class:`lab.toolchain.build.Toolchain` alone.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - refused before newer syntax is met
    raise SystemExit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
