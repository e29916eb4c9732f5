"""Data of version 1 as version 2: results, experiments, and the environments in both.

Version 1 told in sentences what version 2 has in fields. Its sentences are taken apart here and
nowhere else. What it did not know (settings, decisions, values, zones) stays unknown; a note whose
sentence is not known becomes a remark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bench.metrics import TEXTS, Kind

SCHEMA: Final = "cni-benchmark/results/v1"
EXPERIMENT: Final = "cni-benchmark/experiment/v1"

_RUN = re.compile(r"run (?P<run>\d+): (?P<text>.*)", re.DOTALL)
_RUNS = re.compile(r"run (?P<runs>\d+(?:, \d+)*): (?P<text>.*)", re.DOTALL)
_FIGURE = re.compile(r"\\\{(\w+)\\\}")
_NOTES: Mapping[Kind, re.Pattern[str]] = {
    kind: re.compile(_FIGURE.sub(r"(?P<\1>[\\d,.]+)", re.escape(text)) + r"(?:; |$)")
    for kind, text in TEXTS.items()
}
_NO_LONGER = frozenset({"scenario", "cni", "label"})


def results(data: Mapping[str, Any]) -> dict[str, Any]:
    """Results of version 1 as data of version 2."""
    return {
        **data,
        **stack(data.get("environment", {})),
        "schema": "cni-benchmark/results/v2",
        "environment": environment(data.get("environment", {})),
        "metrics": {name: metric(each) for name, each in data.get("metrics", {}).items()},
        "errors": [_error(each) for each in data.get("errors", ())],
    }


def experiment(data: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment of version 1 as data of version 2."""
    return {
        **data,
        **stack(data.get("environment", {})),
        "schema": "cni-benchmark/experiment/v2",
        "environment": environment(data.get("environment", {})),
        "series": [
            {**series, "points": [_point(each) for each in series.get("points", ())]}
            for series in data.get("series", ())
        ],
    }


def stack(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What an environment said of its stack: ``scenario`` and ``cni``."""
    name, _, version = str(facts.get("cni") or "").partition(" ")
    return {
        "scenario": {"title": str(facts.get("scenario") or "")},
        "cni": {"name": name, "version": version} if name else None,
    }


def environment(facts: Mapping[str, Any]) -> dict[str, Any]:
    """An environment without what it said of its stack, and with what its sentences meant."""
    kind = str(facts.get("target") or "").partition(":")[0]
    nodes: Sequence[Mapping[str, Any]] = facts.get("node_facts", ())
    return {
        **{name: value for name, value in facts.items() if name not in _NO_LONGER},
        "target_kind": kind or None,
        "shared_machine": kind == "lab",
        "instance_type": _one_or_all(each.get("instance_type") for each in nodes),
        "zone": _one_or_all(each.get("zone") for each in nodes),
    }


def metric(data: Mapping[str, Any]) -> dict[str, Any]:
    """One metric: its notes, and the rounds of its samples, which are those that are not missing.

    ``throttled`` were positions in ``samples``.
    """
    missing = [_missing(each) for each in data.get("missing", ())]
    lost = {each["round"] for each in missing}
    count = len(data.get("samples", ()))
    rounds = [each for each in range(1, count + len(lost) + 1) if each not in lost]
    held_back = [rounds[position] for position in data.get("throttled", ())]
    notes = [note for text in data.get("notes", ()) for note in _notes(text)]
    if held_back:
        notes.append({"kind": "throttled", "rounds": held_back})
    kept = {name: value for name, value in data.items() if name != "throttled"}
    return {**kept, "rounds": rounds if lost else [], "missing": missing, "notes": notes}


def _point(data: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {name: metric(each) for name, each in data.get("metrics", {}).items()}
    return {**data, "metrics": metrics}


def _missing(text: str) -> dict[str, Any]:
    told = _RUN.fullmatch(text)
    return {"round": int(told["run"]), "reason": told["text"]} if told else {
        "round": 0, "reason": text,
    }  # fmt: skip


def _error(text: str) -> dict[str, str]:
    name, _, reason = text.partition(": ")
    return {"metric": name, "reason": reason}


def _notes(text: str) -> Iterator[dict[str, Any]]:
    """The notes in one sentence, which may join several by semicolons."""
    told = _RUNS.fullmatch(text)
    rounds = [int(each) for each in told["runs"].split(", ")] if told else []
    rest = told["text"] if told else text
    while rest:
        note, rest = _first(rest)
        yield {**note, "rounds": rounds}


def _first(text: str) -> tuple[dict[str, Any], str]:
    for kind, pattern in _NOTES.items():
        if said := pattern.match(text):
            figures = {name: _number(each) for name, each in said.groupdict().items()}
            return {"kind": kind, "figures": figures}, text[said.end() :]
    return {"kind": "remark", "words": text}, ""


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _one_or_all(values: Iterator[Any]) -> Any:
    different = sorted({value for value in values if value})
    return different[0] if len(different) == 1 else different or None
