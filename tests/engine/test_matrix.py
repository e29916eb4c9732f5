"""A matrix of two stacks under the real engine: stopped, gone on, handed over, taken down."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine import checkout as checkouts
from tests.engine.checkout import Checkout
from tests.lab.leftovers import Host

pytestmark = [pytest.mark.engine, pytest.mark.lab]

STACKS = ("left", "right")
MATRIX = ("python", "-m", "bench", "matrix")
QUICK = (*MATRIX, *STACKS, "--rounds", "1", "--seconds", "1", "--seed", "3")
SHORT = (*QUICK, "--bring-ups", "1")


@pytest.fixture(scope="module")
def host(lab_host: None) -> Host:
    return Host.now()


@pytest.fixture(scope="module")
def checkout(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A fresh checkout with two small stacks."""
    folder = tmp_path_factory.mktemp("matrix")
    made = checkouts.copy(folder / "checkout", folder / "home", "scenario-c")
    for stack, source in zip(STACKS, ("scenario-a", "scenario-c"), strict=True):
        made.add_stack(stack, source, {"lab": {"nodes": 2}})
    with checkouts.ended_with_its_labs(made):
        yield made


@pytest.fixture(autouse=True)
def no_file_is_changed(checkout: Checkout) -> Iterator[None]:
    """Whatever a command did, Git finds nothing to commit."""
    yield
    assert checkout.changed_files() == ""


def record(checkout: Checkout) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((checkout.folder / "matrix/matrix.json").read_text())
    return loaded


class TestMatrix:
    """The steps follow each other on the same two stacks."""

    def test_a_stopped_matrix_says_what_is_up_and_how_to_go_on(self, checkout: Checkout) -> None:
        # A session of its own gets the signal as a whole, as from a terminal.
        told = checkout.interrupt(checkout.start(*SHORT), "[3/", signal.SIGINT)
        assert "stopped; the same command goes on" in told
        assert "still up: left, right; python -m bench matrix --out matrix --down" in told
        assert record(checkout)["status"] == "measuring"
        for stack in STACKS:
            outputs = json.loads(checkout.ok("pulumi", "stack", "output", "--json", "-s", stack))
            # Nothing has been measured to its end, and none of them says so.
            assert not outputs.get("results")

    def test_it_goes_on_and_hands_over_what_it_measured(self, checkout: Checkout) -> None:
        samples = (checkout.folder / "matrix/bring-up-1/samples.jsonl").read_text().splitlines()
        told = checkout.ok(*SHORT, "--keep")
        assert "going on with the matrix" in told
        first = next(line for line in told.splitlines() if line.startswith("["))
        # The header's line stands for the next one. Of two that were in turn when it was stopped,
        # the first may have been written: then both are taken again.
        done = len(samples) - 1
        assert first.startswith((f"[{done + 1}/", f"[{done - done % 2 + 1}/"))
        state = record(checkout)
        assert (state["status"], state["failed"], state["warnings"]) == ("finished", {}, [])
        for stack in STACKS:
            found = json.loads((checkout.folder / f"matrix/{stack}.json").read_text())
            assert found["metrics"]["tcp_throughput"]["n"] == 1
            output = checkout.output(stack, "results")
            assert output["metrics"] == found["metrics"]
            assert output["rounds"]["labels"] == list(STACKS)

    def test_a_plain_up_changes_nothing_afterwards(self, checkout: Checkout) -> None:
        for stack in STACKS:
            checkout.ok("pulumi", "preview", "--expect-no-changes", "-s", stack)

    def test_it_is_in_the_history(self, checkout: Checkout) -> None:
        told = checkout.ok("python", "-m", "bench", "history", "--format", "csv")
        lines = told.splitlines()
        assert [line.split(",")[1:3] for line in lines[1:3]] == [[s, "matrix"] for s in STACKS]

    def test_what_it_kept_up_can_be_taken_down(self, checkout: Checkout, host: Host) -> None:
        checkout.ok(*MATRIX, "--down")
        for stack in STACKS:
            assert checkout.resources(stack) == {}
        assert checkout.lab_folders() == []
        assert Host.now() == host
        assert (checkout.folder / "matrix/left.json").exists()

    def test_with_two_bring_ups_each_has_clusters_of_its_own(
        self, checkout: Checkout, host: Host
    ) -> None:
        told = checkout.ok(*QUICK, "--bring-ups", "2")
        assert "bring-up 2 of 2: measuring" in told
        state = record(checkout)
        assert (state["status"], state["failed"], state["lost"]) == ("finished", {}, [{}, {}])
        for stack in STACKS:
            found = json.loads((checkout.folder / f"matrix/{stack}.json").read_text())
            assert len(set(found["bring_ups"])) == 2
            assert found["bring_ups"][-1] == state["sessions"][stack]["boot"]
            assert found["metrics"]["connect_max_rate"]["bring_ups"] == [1, 2]
            assert checkout.resources(stack) == {}
        assert Host.now() == host
