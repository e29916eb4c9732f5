"""The table of injections, and the search for a planted secret."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.faults import cycles, planted, ups
from tests.faults.table import Injection, Row, Seen, line_of, markdown


def row(stage: str, kind: str, seen: Seen | None, problem: str = "") -> Row:
    what = Injection(stage, kind, "a|b", lambda: Seen("", ""))
    return Row(what, 1.0, seen, problem)


def test_the_table_counts_what_it_shows_and_follows_the_stages() -> None:
    rows = [
        row("destroy", "killed", Seen("gone", "nothing")),
        row("measuring", "killed", Seen("agent has ended", "the lab", "missing")),
        row("set-up", "full disk", None, "AssertionError: half made"),
    ]
    text = markdown(rows, 120, "make faults")
    assert (
        "**3 injections of 2 kinds at 3 stages in 2 minutes: 2 as they should be, 1 not.**" in text
    )
    assert "1 of them fell beside a sample" in text
    shown = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][1:]
    assert shown == ["| set-up", "| measuring", "| destroy"]
    assert "FAILED**: AssertionError: half made" in text
    assert "a\\|b" in text
    assert "killed (2), full disk (1)." in text


def test_what_differs_in_every_run_is_left_out() -> None:
    told = "first\nbench: /tmp/faults-x1/results-ab12/scenario-e.json: no JSON (pid 4711)\n\n"
    assert line_of(told) == "bench: …/scenario-e.json: no JSON (pid …)"
    assert line_of("waiting for the lab pytest-c-0123abcd") == "waiting for the lab <lab>"
    assert line_of("\n") == "nothing"


def test_a_secret_is_found_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs/agent.log"
    log.write_bytes(b"\xff token=" + planted.SECRET.encode())
    assert list(planted.holding(tmp_path.rglob("*"))) == [log]
    with pytest.raises(AssertionError, match=r"agent\.log"):
        planted.searched(tmp_path, shared=())
    empty = tmp_path / "own"
    empty.mkdir()
    with pytest.raises(AssertionError, match=r"agent\.log"):
        planted.searched(empty, shared=[tmp_path])
    log.write_text("token=…")
    told = planted.searched(tmp_path, shared=[tmp_path]).told
    assert told.startswith("nothing: it is in none of 1 files")
    assert list(planted.written(tmp_path, time.time() + 1)) == []


def test_what_grows_with_cycles_is_named_and_memory_may_a_little() -> None:
    steady = {"mounts": 30.0, "MB of memory": 100.0}
    taken = [steady | {"mounts": 31.0}, steady, *[steady | {"MB of memory": 109.0}] * 8]
    assert cycles.grown(taken) == []
    more = steady | {"mounts": 31.0, "MB of memory": 111.0}
    assert cycles.grown([*taken[:-1], more]) == [
        "mounts from 30 to 31",
        "MB of memory from 100 to 111",
    ]


def test_what_a_user_reads_of_an_end_is_the_engines_error() -> None:
    told = "  error: update canceled\nResources:\nmake: *** [up] Error 255\n"
    assert ups.words(told) == "error: update canceled"
    assert ups.words("interrupted\n") == "interrupted"


def test_a_command_that_prints_it_is_found(tmp_path: Path) -> None:
    user = planted.Watched(tmp_path, {**os.environ, **planted.VARIABLES})
    with pytest.raises(AssertionError, match="a secret is printed"):
        user.run("sh", "-c", "echo $AWS_SECRET_ACCESS_KEY")
