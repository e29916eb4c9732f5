"""The house: imports run downwards only, and what breaks that is found."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("bench", "cli", "cni", "components", "kube", "lab", "report", "studies")
# A module or a member of it, as a string that is meant to be imported.
_DOTTED = re.compile(rf"(?:{'|'.join(ROOMS)})(?:\.\w+)+:\w+")


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    argv = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all rooms and their contracts."""
    copy = tmp_path_factory.mktemp("house")
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "*.json", "*.j2")
        shutil.copytree(ROOT / room, copy / room, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def test_the_contracts_hold_without_exceptions(house: Path) -> None:
    done = _lint(house)
    assert done.returncode == 0, done.stdout
    assert "BROKEN" not in done.stdout
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text()


BREAKS = [
    ("bench/session.py", "from components import target", "each room imports from those below"),
    (
        "bench/session.py",
        "def now():\n    import report.show",
        "each room imports from those below",
    ),
    ("bench/session.py", "import lab.cluster", "know neither the lab nor a Kubernetes client"),
    ("studies/matrix/run.py", "import cli.common", "each room imports from those below"),
    ("studies/matrix/run.py", "import kube.client", "know neither the lab nor a Kubernetes client"),
    ("report/show.py", "import components.state", "each room imports from those below"),
    ("lab/cluster.py", "import bench.session", "The lab knows nothing of what is measured"),
    ("kube/objects.py", "import cni.scenario", "each room imports from those below"),
    ("bench/newcomer.py", "", "No module of bench is missing"),
    ("kube/objects.py", "import kube.client", "No circles within a room"),
    ("cni/platform.py", "import cni.scenario", "No circles within a room"),
    ("components/target.py", "import components.targets", "No circles within a room"),
]


@pytest.mark.process
@pytest.mark.parametrize(("file", "line", "contract"), BREAKS)
def test_a_contract_that_is_broken_on_purpose_fails(
    house: Path, file: str, line: str, contract: str
) -> None:
    path = house / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        done = _lint(house)
    finally:
        path.write_text(before) if before is not None else path.unlink()
    assert done.returncode == 1
    assert any(contract in each and "BROKEN" in each for each in done.stdout.splitlines())


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_imported_by_its_name_as_a_string(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                assert name not in ("import_module", "__import__"), f"{file}:{node.lineno}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not _DOTTED.fullmatch(node.value), f"{file}:{node.lineno}"
