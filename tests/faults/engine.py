"""Faults under the real engine before anything is up: what a preview refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.engine.checkout import Checkout
from tests.faults.ground import Ground
from tests.faults.table import Injection, Seen, line_of, plain
from tests.lab.leftovers import Host

SHORT: dict[str, object] = {"benchmark": {"runs": 1, "durationSeconds": 1}, "lab": {"nodes": 2}}


class Stacks:
    """Stacks of one checkout, each injection with one of its own."""

    def __init__(self, ground: Ground, user: Checkout) -> None:
        self.ground, self.user = ground, user
        self._number = 0

    def new(self, changes: dict[str, object] | None = None) -> str:
        self._number += 1
        name = f"fault-{self._number}"
        self.user.add_stack(name, "scenario-c", {**SHORT, **(changes or {})})
        return name

    def state(self, stack: str) -> Path:
        """Where the engine keeps a stack."""
        (file,) = Path(self.user.env["XDG_STATE_HOME"]).glob(f"**/stacks/*/{stack}.json")
        return file

    def refused(
        self,
        changes: dict[str, object] | None = None,
        spoil: Callable[[str], object] = lambda stack: None,
        **more: str,
    ) -> Seen:
        """A preview that starts nothing."""
        stack = self.new(changes)
        spoil(stack)
        done = self.user.run("pulumi", "preview", "-s", stack, **more)
        assert done.returncode, "it was not refused"
        assert "Traceback" not in done.stdout, line_of(done.stdout)
        assert self.user.lab_folders() == [], "a lab has files"
        return Seen(plain(first_error(done.stdout)), "nothing was there")

    def torn(self) -> Seen:
        """The engine's own record of a stack is torn; its backup is what the user has."""

        def tear(stack: str) -> None:
            self.user.ok("pulumi", "stack", "init", "--no-select", stack)
            file = self.state(stack)
            file.write_bytes(file.read_bytes()[:200])

        return self.refused(spoil=tear)

    def no_yaml(self) -> Seen:
        def spoil(stack: str) -> None:
            (self.user.folder / f"Pulumi.{stack}.yaml").write_text("config: [\n")

        return self.refused(spoil=spoil)

    def without_file(self, begin: Callable[[str], object] = lambda stack: None) -> Seen:
        """`make down` of a stack whose settings are gone, and of which only the engine knows."""
        host, stack = Host.now(), self.new()
        self.user.ok("pulumi", "stack", "init", "--no-select", stack)
        begin(stack)
        file = self.user.folder / f"Pulumi.{stack}.yaml"
        file.unlink()
        told = self.user.ok("make", "down", f"STACK={stack}")
        assert self.user.resources(stack) == {}, "the stack has resources"
        assert self.user.lab_folders() == [], "the lab has files"
        assert not file.exists(), "there is a file again"
        assert Host.now() == host, "the machine is not as before"
        said = next(
            one for one in told.splitlines() if "have been deleted" in one or "removed" in one
        )
        return Seen(plain(said), "the stack's name and history")


def first_error(output: str) -> str:
    """The first line that tells of one: the engine's, or the launcher's before it."""
    for line in map(str.strip, output.splitlines()):
        before, mark, _ = line.partition("error: ")
        if mark or line.startswith("pulumi: "):
            return line.removeprefix(before) if mark else line
    raise AssertionError(f"no error is told: {line_of(output)}")


def previews(ground: Ground, user: Checkout) -> Iterator[Injection]:
    """What a preview refuses."""
    stacks = Stacks(ground, user)
    wrong: dict[str, object] = {"benchmark": {"rnus": 3}}
    yield Injection("preview", "bad setting", "`rnus: 3`", partial(stacks.refused, wrong))
    yield Injection("preview", "garbage in a file", "settings that are no YAML", stacks.no_yaml)
    yield Injection("preview", "torn file", "the engine's record of the stack", stacks.torn)
    yield Injection("preview", "bad environment", "CNI_BENCHMARK_MEASURE=soon",
                    partial(stacks.refused, CNI_BENCHMARK_MEASURE="soon"))  # fmt: skip
    what = "the settings of a stack that is down, `make down`"
    yield Injection("destroyed", "missing file", what, stacks.without_file)
