"""Building with a fake Go: what is finished is kept, what is interrupted is never used."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cni.cilium.versions import VERSIONS
from lab.errors import NotBuiltError, ToolchainError, UnknownProgramError
from lab.sandbox import MODULES_FILE
from lab.toolchain.build import (
    Builder,
    Go,
    Toolchain,
    apply_patch,
    binary_name,
    needed_version,
    parse_version,
)
from lab.toolchain.cache import CHECKOUT, Cache
from lab.toolchain.programs import (
    FAMILIES,
    HELM,
    LAB,
    Family,
    Patch,
    Program,
    Share,
    need_of,
    read_families,
)

FAKE_GO = """#!/bin/sh
echo "$@" >> "{log}"
echo "$GOOS/$GOARCH" >> "{log}.machines"
case "$1" in
  mod) echo '{{"Dir": "{module}"}}'; exit 0 ;;
  list) exit 0 ;;
esac
while [ $# -gt 0 ]; do
  case "$1" in
    -o) out="$2"; shift ;;
    */cmd/*) name="${{1##*/}}"
      [ -e "{broken}" ] && {{ echo "compile error in $name" >&2; exit 1; }}
      echo built > "$out/$name" ;;
  esac
  shift
done
"""


class Bench:
    """A tools folder, a cache and a Go command that only pretends."""

    def __init__(self, root: Path) -> None:
        self.tools = root / "tools"
        folder = self.tools / "demo"
        folder.mkdir(parents=True)
        (root / "requirements.txt").write_text("")
        (folder / "go.mod").write_text("module demo\n\ngo 1.22\n")
        (folder / "go.sum").write_text("")
        (folder / "tools.go").write_text("package tools\n")
        self.module = root / "module"
        (self.module / "data").mkdir(parents=True)
        (self.module / "data" / "chart.yaml").write_text("a: 1\n")
        (self.module / "check.go").write_text('const path = "/proc/modules"\n')
        self.log = root / "go.log"
        self.broken = root / "broken"
        command = root / "go"
        command.write_text(FAKE_GO.format(log=self.log, module=self.module, broken=self.broken))
        command.chmod(0o755)
        self.go = Go(command, "1.22.0")
        self.builder = Builder(self.tools, Cache(root / "cache"))

    def calls(self, name: str) -> int:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(line.startswith(name) for line in lines)


FAMILY = Family(
    name="demo",
    version="1.0",
    folder="demo",
    module="example.com/demo",
    programs=(
        Program("one", "example.com/demo/cmd/one", LAB),
        Program("two", "example.com/demo/cmd/two", HELM),
    ),
    share=Share("demo", LAB, paths=("data",)),
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_only_what_is_needed_and_missing_is_built(bench: Bench) -> None:
    builder = bench.builder
    assert [p.name for p in builder.missing(FAMILY, {LAB})] == ["one"]
    builder.build(bench.go, FAMILY, builder.missing(FAMILY, {LAB}))
    assert builder.missing(FAMILY, {LAB}) == []
    assert [p.name for p in builder.missing(FAMILY, {LAB, HELM})] == ["two"]
    assert builder.program_path(FAMILY, FAMILY.programs[0]).read_text() == "built\n"


def test_a_family_may_be_for_other_machines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOARCH", "riscv64")
    for family in (FAMILY, replace(FAMILY, architecture="arm64")):
        bench.builder.build(bench.go, family, [family.programs[0]])
    machines = bench.log.with_name("go.log.machines").read_text().split()
    assert machines == ["/", "linux/arm64"]


def test_failed_build_publishes_nothing_and_shows_the_output(bench: Bench) -> None:
    builder = bench.builder
    bench.broken.touch()
    with pytest.raises(ToolchainError, match=r"building demo 1\.0 .*\n.*compile error in one"):
        builder.build(bench.go, FAMILY, list(FAMILY.programs))
    assert len(builder.missing(FAMILY, {LAB, HELM})) == 2
    assert list(builder.cache.path("tmp").iterdir()) == []
    bench.broken.unlink()
    builder.build(bench.go, FAMILY, list(FAMILY.programs))
    assert builder.missing(FAMILY, {LAB, HELM}) == []


def test_changed_inputs_change_the_place(bench: Bench) -> None:
    before = bench.builder.inputs(FAMILY)
    assert re.fullmatch(r"[0-9a-f]{8}", before)
    (bench.tools / "demo" / "tools_test.go").write_text("package tools\n")
    assert bench.builder.inputs(FAMILY) == before
    (bench.tools / "demo" / "go.sum").write_text("changed\n")
    assert bench.builder.inputs(FAMILY) != before


def test_shared_files_are_copied_and_writable(bench: Bench) -> None:
    share = bench.builder.missing_share(FAMILY, {LAB})
    assert share is not None
    (bench.module / "data" / "chart.yaml").chmod(0o444)
    bench.builder.copy_share(bench.go, FAMILY, share)
    copied = bench.builder.share_path(FAMILY, share) / "data" / "chart.yaml"
    assert copied.read_text() == "a: 1\n"
    assert copied.stat().st_mode & 0o200
    assert bench.builder.missing_share(FAMILY, {LAB}) is None


def test_patch_leaves_the_original_alone(bench: Bench) -> None:
    patched = Family(
        name="demo",
        version="1.0",
        folder="demo",
        module="example.com/demo",
        programs=FAMILY.programs,
        patches=(Patch("example.com/demo", "check.go", '"/proc/modules"', '"/run/x"'),),
    )
    bench.builder.build(bench.go, patched, list(patched.programs))
    assert "/proc/modules" in (bench.module / "check.go").read_text()
    assert "-modfile" in bench.log.read_text()
    assert bench.builder.inputs(patched) != bench.builder.inputs(FAMILY)


@pytest.mark.parametrize(("text", "count"), [("nothing", 0), ("x x", 2)])
def test_patch_is_refused_unless_there_once(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "a.go").write_text(text)
    with pytest.raises(ToolchainError, match=f"is there {count} times, expected once"):
        apply_patch(tmp_path, Patch("example.com/demo", "a.go", "x", "y"))


def test_binary_name_skips_the_major_version() -> None:
    assert binary_name("go.etcd.io/etcd/server/v3") == "server"
    assert binary_name("k8s.io/kubernetes/cmd/kube-proxy") == "kube-proxy"
    assert binary_name("fortio.org/fortio") == "fortio"


def test_unknown_and_unbuilt_programs(tmp_path: Path) -> None:
    toolchain = Toolchain(Builder(CHECKOUT / "tools", Cache(tmp_path)))
    with pytest.raises(UnknownProgramError, match=r"no program 'kubelet'.*kube-apiserver"):
        toolchain.program("kubelet")
    with pytest.raises(NotBuiltError, match=r"kube-apiserver 1\.31\.4 is not built.*make setup"):
        toolchain.program("kube-apiserver", "1.31.4")
    with pytest.raises(NotBuiltError, match="make setup"):
        toolchain.share("cilium")
    with pytest.raises(UnknownProgramError, match="aws-cni, cilium"):
        toolchain.share("helm")


_UPSTREAM = [each for each in FAMILIES if each.folder != "turns"]
"""The generator of turns is ours, of the standard library alone."""


@pytest.mark.parametrize("family", _UPSTREAM, ids=lambda family: family.label)
def test_pinned_module_is_the_stated_version(family: Family) -> None:
    folder = CHECKOUT / "tools" / family.folder
    required = re.findall(r"^\s*(?:require )?(\S+) v(\S+)", (folder / "go.mod").read_text(), re.M)
    versions = dict(required)
    sums = (folder / "go.sum").read_text()
    for program in family.programs:
        package = {"coredns": "github.com/coredns/coredns"}.get(program.name, program.package)
        # A program with a main package of ours is built from the module that its family names.
        of_package = [name for name in versions if package.startswith(name)]
        module = max(of_package, key=len, default=family.module)
        assert versions[module] == family.version_of(program)
        assert f"{module} v{family.version_of(program)} h1:" in sums


def test_go_versions() -> None:
    assert parse_version("go version go1.26.6 linux/amd64") == (1, 26, 6)
    assert parse_version("1.25") == (1, 25, 0)
    assert parse_version("devel") == (0,)
    assert needed_version(CHECKOUT / "tools") >= (1, 25, 0)


def test_another_cilium_version_is_an_entry_in_the_table_and_a_module() -> None:
    """What docs/extending.md says: the entry names the module of tools/, and all else follows."""
    ours = VERSIONS["1.16.5"]
    made_up = replace(ours, version="1.99.0", commit="0123abcd", module="cilium-1.99.0", llvm=19)
    table = {each.version: each for each in (ours, made_up)}
    families = read_families({"cilium": table, "vpc-cni": {}, "kubernetes": {}})
    old, new = (each for each in families if each.table)
    assert (new.folder, new.label) == ("cilium-1.99.0", "cilium 1.99.0")
    assert "1.99.0 0123abcd" in new.ldflags
    # A stack that asks for one builds nothing of the other.
    assert {one.need for one in new.programs} == {need_of("cilium", "1.99.0")}
    assert {one.need for one in old.programs} == {need_of("cilium", "1.16.5")}
    assert {"clang-19", "llvm-19"} <= set(new.packages)
    assert "clang-16" in old.packages


def test_patches_are_those_that_a_version_names() -> None:
    plain = replace(VERSIONS["1.16.5"], patches=("modules-list",))
    families = read_families({"cilium": {"": plain}, "vpc-cni": {}, "kubernetes": {}})
    (family,) = (each for each in families if each.table)
    (patch,) = family.patches
    assert patch.new == f'"{MODULES_FILE}"', "the agent reads the file that the lab writes"


def test_a_program_is_asked_for_by_version(tmp_path: Path) -> None:
    toolchain = Toolchain(Builder(CHECKOUT / "tools", Cache(tmp_path)))
    with pytest.raises(NotBuiltError, match=r"cilium-agent 1\.16\.5 is not built"):
        toolchain.program("cilium-agent", "1.16.5")
    with pytest.raises(UnknownProgramError, match=r"no program 'cilium-agent 0\.1'"):
        toolchain.program("cilium-agent", "0.1")
