"""What is seen of a set-up: on a terminal what is under way, elsewhere a line per step."""

from __future__ import annotations

import re
import time
from io import StringIO

import pytest
from rich.console import Console

from lab.toolchain.progress import Progress


class Screen(StringIO):
    """Waits for what is shown, without the marks of a terminal."""

    def wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", self.getvalue())
            if found := re.search(pattern, plain):
                return found[0]
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} is not shown:\n{self.getvalue()}")


def test_a_terminal_shows_what_is_made_for_how_long_and_what_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen()
    terminal = Console(file=screen, force_terminal=True, width=100, color_system=None)

    def work() -> None:
        screen.wait_for(r"0:00:01 cilium \[1\.16\.5\]")
        screen.wait_for(r"0:00:01 downloading etcd")
        screen.wait_for("set-up: 0 of 3 done, 2 to begin")

    with Progress(3, terminal) as progress:
        with progress.under_way("downloading etcd"):
            progress.run("cilium [1.16.5]", work)
        screen.wait_for("set-up: 1 of 3 done, 2 to begin")
    screen.wait_for(r"\[1/3\] cilium \[1\.16\.5\] … \d+ s\n")


def test_elsewhere_there_is_a_line_for_every_step_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(2) as progress:
        progress.run("etcd 3.6.5", lambda: time.sleep(1.1))
        with pytest.raises(OSError, match="no room"):
            progress.run("cilium", _fails)
        progress.run("cilium", lambda: None)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "[1/2] etcd 3.6.5 … 1 s\n[2/2] cilium … 0 s\n")


def _fails() -> None:
    raise OSError("no room")
