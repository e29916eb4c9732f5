"""The supported Cilium versions and what differs between them.

A version is added here, with its chart's keys beside this module (``chart-VERSION.json``), a Go
module in ``tools/``, and fixtures. Standard library only: the toolchain reads this before anything
is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CiliumVersion:
    """Facts that hold for one version of Cilium.

    :param version: without a leading v.
    :param commit: the release's commit, as the release's own binaries report it.
    :param released: the commit's date, ISO 8601 with its offset from UTC.
    :param module: the folder below ``tools/`` whose go.mod builds this version.
    :param kubernetes: the newest minor version that its makers test it with
        (``Documentation/network/kubernetes/compatibility.rst``).
    :param llvm: the major version of clang and LLVM that compiles its datapath.
    :param patches: changes to the source that the lab's programs need, by the names that
        ``tools/programs.toml`` has for them.
    """

    version: str
    commit: str
    released: str
    module: str
    kubernetes: str
    llvm: int
    patches: tuple[str, ...]

    @property
    def build(self) -> str:
        """What a released agent reports as its version: number, commit and date."""
        return f"{self.version} {self.commit} {self.released}"


_1_16_5 = CiliumVersion(
    version="1.16.5",
    commit="ad688277",
    released="2024-12-12T22:05:14+00:00",
    module="cilium",
    kubernetes="1.30",
    llvm=16,
    patches=(
        "modules-list",
        "deferred-cycle-check",
        "host-endpoint-number",
        "first-addresses",
    ),
)

VERSIONS: Mapping[str, CiliumVersion] = {each.version: each for each in (_1_16_5,)}
"""Every supported version by its number, oldest first."""

DEFAULT = _1_16_5.version
"""The version that messages and examples suggest."""
