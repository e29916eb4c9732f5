"""The host's list of congestion controls is what it was, whatever happens while it is widened."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lab import congestion
from lab.congestion import AllowedList

KILLED = """
import os, signal, sys
from pathlib import Path
from lab.congestion import AllowedList
with AllowedList(Path(sys.argv[1]), Path(sys.argv[2])).widened("cubic"):
    print(Path(sys.argv[1]).read_text(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def allowed(tmp_path: Path) -> AllowedList:
    sysctl = tmp_path / "allowed"
    sysctl.write_text("reno bbr\n")
    return AllowedList(sysctl, tmp_path / "kept")


def test_the_list_is_wider_for_a_moment_only(allowed: AllowedList) -> None:
    with allowed.widened("cubic"):
        assert allowed.sysctl.read_text() == "reno bbr cubic"
        assert allowed.kept.read_text() == "reno bbr\n"
    assert allowed.sysctl.read_text() == "reno bbr\n"
    assert not allowed.kept.exists()


def test_a_failure_puts_it_back(allowed: AllowedList) -> None:
    with pytest.raises(OSError, match="no such"), allowed.widened("cubic"):
        raise OSError("no such")
    assert allowed.sysctl.read_text() == "reno bbr\n"
    assert not allowed.kept.exists()


def _die_while_it_is_wide(allowed: AllowedList) -> None:
    argv = [sys.executable, "-c", KILLED, str(allowed.sysctl), str(allowed.kept)]
    died = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (died.returncode, died.stdout) == (-9, "reno bbr cubic\n"), died.stderr
    assert allowed.sysctl.read_text() == "reno bbr cubic"


def test_after_a_crash_the_lab_that_is_removed_puts_it_back(allowed: AllowedList) -> None:
    _die_while_it_is_wide(allowed)
    allowed.restore()
    assert allowed.sysctl.read_text() == "reno bbr\n"
    assert not allowed.kept.exists()
    allowed.restore()  # nothing to do


def test_after_a_crash_the_next_one_starts_from_what_it_was(allowed: AllowedList) -> None:
    _die_while_it_is_wide(allowed)
    with allowed.widened("vegas"):
        assert allowed.sysctl.read_text() == "reno bbr vegas"
    assert allowed.sysctl.read_text() == "reno bbr\n"


def test_one_at_a_time(allowed: AllowedList) -> None:
    seen: list[str] = []

    def widen() -> None:
        for _ in range(50):
            with allowed.widened("cubic"):
                seen.append(allowed.sysctl.read_text())

    threads = [threading.Thread(target=widen) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == ["reno bbr cubic"] * 200
    assert allowed.sysctl.read_text() == "reno bbr\n"
    assert not allowed.kept.exists()


def test_what_differs_from_amazon_linux_is_told() -> None:
    assert congestion.adaptations("cubic", "cubic") == ()
    (asked,) = congestion.adaptations("bbr", "bbr")
    assert asked == "TCP congestion control is bbr (asked for); Amazon Linux's default is cubic."
    (lacking,) = congestion.adaptations("cubic", "reno")
    assert "reno (this machine has no cubic for the lab)" in lacking
