"""A Pulumi stack's outputs, read through the ``pulumi`` command (bench imports no Pulumi)."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from bench.environment import ToggleRecord, toggle_records
from bench.results import Results, ResultsError, from_dict, from_json
from bench.text import tail

_TIMEOUT_SECONDS = 60


class StackError(Exception):
    """No results can be had from the stack; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class StackOutputs:
    """The outputs that are shown; all but ``results`` may be absent.

    ``decisions`` are those of the output ``toggles``.
    """

    results: Results
    decisions: list[ToggleRecord]
    warnings: tuple[str, ...]


def read_stack(stack: str) -> StackOutputs:
    """Ask ``pulumi stack output`` for a stack's outputs.

    :raises StackError: there is no pulumi, no such stack, or it has no readable results.
    """
    return parse_outputs(stack, _outputs(stack))


def read_session(stack: str) -> dict[str, Any]:
    """The descriptor of a stack's session (its output ``session``, JSON text).

    :raises StackError: there is no pulumi, no such stack, or it is not up.
    """
    try:
        found = json.loads(json.loads(_outputs(stack))["session"])
    except (ValueError, KeyError, TypeError):
        raise StackError(
            f"stack {stack!r} has no session: run pulumi up -s {stack} first"
        ) from None
    return dict(found)


def _outputs(stack: str) -> str:
    command = ["pulumi", "stack", "output", "--json", "--non-interactive", "-s", stack]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError:
        raise StackError('pulumi is not on PATH: try eval "$(make -s env)" first') from None
    except subprocess.TimeoutExpired:
        raise StackError(f"pulumi did not answer in {_TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        raise StackError(f"pulumi cannot read stack {stack!r}: {tail(done.stderr or done.stdout)}")
    return done.stdout


def parse_outputs(stack: str, text: str) -> StackOutputs:
    """Read the JSON of ``pulumi stack output --json``.

    :raises StackError: no JSON object, or no readable ``results`` in it.
    """
    try:
        outputs = json.loads(text)
    except json.JSONDecodeError as error:
        raise StackError(f"pulumi's outputs of stack {stack!r} are no JSON: {error}") from None
    if not isinstance(outputs, dict) or not outputs.get("results"):
        raise StackError(f"stack {stack!r} has no results: run pulumi up -s {stack} first")
    try:
        found = outputs["results"]
        results = from_json(found) if isinstance(found, str) else from_dict(found)
    except (ResultsError, AttributeError) as error:
        raise StackError(f"stack {stack!r}: {error}") from None
    warnings = outputs.get("warnings")
    return StackOutputs(
        results=results,
        decisions=toggle_records(outputs.get("toggles")),
        warnings=tuple(str(item) for item in warnings) if isinstance(warnings, list) else (),
    )
