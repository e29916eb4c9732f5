"""A checkout of this project for tests of the real engine, with a home and a backend of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.cluster import Lab
from lab.toolchain.cache import default_cache
from lab.wait import until
from tests.lab.leftovers import RUN_MARK

ROOT = Path(__file__).parents[2]
PREFIX = "cni-benchmark:"
#: What a user types before plain commands; prints what they find in their environment.
_ENV = 'eval "$(make -s env STACK=$1)" && exec env -0'
_SECONDS = 600


@dataclass(frozen=True)
class Checkout:
    """A copy of the working tree that is a Git repository of its own."""

    folder: Path
    env: Mapping[str, str]

    def lab_folders(self) -> list[str]:
        """The labs that have files, running or not, by their ids."""
        labs = Path(self.env["XDG_STATE_HOME"]) / "cni-benchmark" / "labs"
        return sorted(each.name for each in labs.iterdir()) if labs.is_dir() else []

    def start(self, *argv: str, **more: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own, with its output in one pipe."""
        return subprocess.Popen(
            argv,
            cwd=self.folder,
            env={**self.env, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as in a shell of the user's."""
        process = self.start(*argv, **more)
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except BaseException as error:
            # A session of its own outlives us, whether it hangs or we are interrupted.
            os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # whoever it started may hold the pipe
                told, _ = process.communicate(timeout=10)
                error.add_note(f"{' '.join(argv)} had told:\n{told}")
            raise
        return subprocess.CompletedProcess(argv, process.returncode, output)

    def ok(self, *argv: str, **more: str) -> str:
        """The output of a command that must succeed."""
        done = self.run(*argv, **more)
        assert done.returncode == 0, (
            f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}"
        )
        return done.stdout

    def output(self, stack: str, name: str) -> Any:
        """One stack output, by `pulumi stack output`."""
        return json.loads(self.ok("pulumi", "stack", "output", name, "--json", "-s", stack))

    def resources(self, stack: str) -> dict[str, dict[str, Any]]:
        """The resources in a stack's state, by name."""
        exported = json.loads(self.ok("pulumi", "stack", "export", "-s", stack))
        found = exported["deployment"].get("resources", [])
        return {each["urn"].rpartition("::")[2]: each for each in found}

    def lab(self, stack: str) -> Lab:
        """The lab of a stack, as its state has it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", self.env["XDG_STATE_HOME"])
            return Lab(self.resources(stack)["slot"]["id"])

    def kill_lab(self, stack: str) -> None:
        """End a stack's lab as a crash of the machine would: nobody is told."""
        lab = self.lab(stack)
        os.kill(lab.sandbox.init_pid, signal.SIGKILL)
        until("the lab to be dead", lambda: "it lives" if lab.boot_id() else None, timeout=30)

    def interrupt(self, process: subprocess.Popen[str], line: str, by: signal.Signals) -> str:
        """Wait until a command has printed a line, then signal it; its output from there on."""
        wait_for_line(process, line)
        os.killpg(process.pid, by)
        if by is signal.SIGKILL:
            # Whoever it started may hold the pipe for long.
            assert process.stdout is not None
            process.stdout.close()
            process.wait(_SECONDS)
            return ""
        return process.communicate(timeout=_SECONDS)[0]

    def changed_files(self) -> str:
        """What Git calls changed or untracked."""
        return self.ok("git", "status", "--porcelain")

    def add_stack(self, name: str, source: str, changes: Mapping[str, Any]) -> None:
        """A stack of one's own, as the documentation says: a copied file, changed and kept."""
        tree = yaml.safe_load((self.folder / f"Pulumi.{source}.yaml").read_text())
        for path, value in changes.items():
            section, *parents = path.split(".")
            node = tree["config"]
            parents = [PREFIX + section, *parents]
            for parent in parents[:-1]:
                node = node.setdefault(parent, {})
            node[parents[-1]] = value
        (self.folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        self.commit(f"Stack {name}")

    def commit(self, message: str) -> None:
        self.ok("git", "add", "--all")
        self.ok(
            "git", "-c", "user.name=test", "-c", "user.email=test@localhost",
            "commit", "--quiet", "--allow-empty", "--message", message,
        )  # fmt: skip


def wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    """Read what a command prints until a line has these words.

    :raises AssertionError: it ended without; with all that it has told.
    """
    assert process.stdout is not None
    seen = ""
    for told in process.stdout:
        seen += told
        if line in told:
            return
    raise AssertionError(f"{line!r} was never told:\n{seen}")


@contextmanager
def ended_with_its_labs(checkout: Checkout) -> Iterator[Checkout]:
    """Whatever a checkout's labs are at the end of the block, they end with it."""
    try:
        yield checkout
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", checkout.env["XDG_STATE_HOME"])
            for name in checkout.lab_folders():
                Lab(name).remove()


def copy(folder: Path, home: Path, stack: str) -> Checkout:
    """Copy this checkout's files, tracked or not yet, without those that Git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)
    home.mkdir()
    bare = Checkout(folder, _clean(os.environ, home))
    bare.ok("git", "init", "--quiet")
    bare.commit("A checkout")
    shown = bare.run("bash", "-c", _ENV, "bash", stack)
    assert shown.returncode == 0, shown.stdout
    pairs = (pair.partition("=") for pair in shown.stdout.rpartition("\n")[2].split("\0") if pair)
    return Checkout(folder, {name: value for name, _, value in pairs})


def _clean(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """A user's environment who has built everything, and never used Pulumi."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(("PULUMI_", "CNI_BENCHMARK_", "PYTEST_")) or name == RUN_MARK
    }
    # The interpreter that the environment is keyed by comes first, as in the user's own shell.
    kept["PATH"] = os.pathsep.join([str(Path(sys.base_prefix) / "bin"), kept.get("PATH", "")])
    return kept | {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PULUMI_HOME": str(home / "pulumi"),
        "CNI_BENCHMARK_CACHE": str(default_cache()),
    }
