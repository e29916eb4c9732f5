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
    :param commit: the release's commit, as the release's own binaries report it; ``unknown`` where
        the module proxy does not tell it.
    :param released: the commit's date, ISO 8601 with its offset from UTC.
    :param module: the folder below ``tools/`` whose go.mod builds this version.
    :param kubernetes: the oldest and the newest minor version that its makers test it with
        (``Documentation/network/kubernetes/compatibility.rst``).
    :param llvm: the major version of clang and LLVM that compiles its datapath.
    :param patches: changes to the source that the lab's programs need, by the names that
        ``tools/programs.toml`` has for them.
    """

    version: str
    commit: str
    released: str
    module: str
    kubernetes: tuple[str, str]
    llvm: int
    patches: tuple[str, ...]

    @property
    def build(self) -> str:
        """What a released agent reports as its version: number, commit and date."""
        return f"{self.version} {self.commit} {self.released}"

    @property
    def line(self) -> tuple[int, ...]:
        """Its major and minor number."""
        return _minor(self.version)

    def since(self, line: str) -> bool:
        """Whether it is of a line, 1.18 say, or of a later one."""
        return self.line >= _minor(line)

    def tested_with(self, kubernetes: str) -> bool:
        oldest, newest = map(_minor, self.kubernetes)
        return oldest <= _minor(kubernetes) <= newest


def _minor(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


_1_16_5 = CiliumVersion(
    version="1.16.5",
    commit="ad688277",
    released="2024-12-12T22:05:14+00:00",
    module="cilium",
    kubernetes=("1.27", "1.30"),
    llvm=16,
    patches=(
        "modules-list",
        "deferred-cycle-check",
        "host-endpoint-number",
        "first-addresses",
    ),
)

_1_18_11 = CiliumVersion(
    version="1.18.11",
    commit="617b6b49",
    released="2026-06-16T10:45:18+00:00",
    module="cilium-1.18.11",
    kubernetes=("1.30", "1.33"),
    llvm=19,
    patches=("host-endpoint-number", "first-addresses", "definitions"),
)

# A release's first, with faults that later patches mend: what an upgrade should be warned of.
_1_19_0 = CiliumVersion(
    version="1.19.0",
    commit="7c6667e1",
    released="2026-02-03T20:34:58+00:00",
    module="cilium-1.19.0",
    kubernetes=("1.31", "1.34"),
    llvm=19,
    patches=("first-addresses", "definitions"),
)

_1_19_7 = CiliumVersion(
    version="1.19.7",
    commit="unknown",
    released="2026-08-18T08:34:44+00:00",
    module="cilium-1.19.7",
    kubernetes=("1.32", "1.35"),
    llvm=19,
    patches=("first-addresses", "definitions"),
)

_1_20_2 = CiliumVersion(
    version="1.20.2",
    commit="unknown",
    released="2026-09-15T20:03:11+00:00",
    module="cilium-1.20.2",
    kubernetes=("1.33", "1.36"),
    llvm=19,
    patches=(
        "host-endpoint-number",
        "host-endpoint-known",
        "first-addresses",
        "first-request",
        "definitions",
    ),
)

VERSIONS: Mapping[str, CiliumVersion] = {
    each.version: each for each in (_1_16_5, _1_18_11, _1_19_0, _1_19_7, _1_20_2)
}
"""Every supported version by its number, oldest first."""

DEFAULT = _1_20_2.version
"""The version that messages and examples suggest."""


def tested_with(kubernetes: str) -> list[str]:
    """The newest version of each line that its makers test with a Kubernetes."""
    newest = {each.line: each for each in VERSIONS.values()}
    return [each.version for each in newest.values() if each.tested_with(kubernetes)]


def version_of(number: str) -> CiliumVersion:
    """A version's entry; the default's for one that is not there, which the settings refuse."""
    return VERSIONS.get(number, VERSIONS[DEFAULT])
