"""Results that were measured elsewhere (by a matrix) and are handed to a stack's benchmark.

Two variables of the environment of a Pulumi command say so; a plain command has neither:

- ``CNI_BENCHMARK_MEASURE=later``: bring up without measuring. The stack has no results then, until
  they are handed over or a plain ``pulumi up`` measures.
- ``CNI_BENCHMARK_RESULTS=<file>``: take the results of this file, if they were measured in the
  stack's own session.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.results import Results, ResultsError, from_dict

MEASURE, LATER = "CNI_BENCHMARK_MEASURE", "later"
RESULTS = "CNI_BENCHMARK_RESULTS"


class HandoverError(Exception):
    """Results that cannot be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Handover:
    """A file of results and the digest of what is in it."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path) -> Handover:
        """The file as it is now.

        :raises HandoverError: it cannot be read.
        """
        try:
            return cls(path.absolute(), hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise HandoverError(f"{RESULTS}: {error}") from None

    def to_json(self) -> str:
        """As an input of the benchmark."""
        return json.dumps({"path": str(self.path), "sha256": self.digest}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Handover:
        """What :meth:`to_json` wrote."""
        data = json.loads(text)
        return cls(Path(data["path"]), str(data["sha256"]))

    def results(self, session: str) -> Results:
        """The results in the file.

        :param session: the descriptor of the stack's session, as JSON.
        :raises HandoverError: the file has changed, holds no whole results, or they are of
            another session.
        """
        if Handover.of(self.path).digest != self.digest:
            raise HandoverError(f"{self.path} has changed since")
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            measured_in, results = data["session"], from_dict(data["results"])
        except (ValueError, KeyError, TypeError, ResultsError) as error:
            raise HandoverError(f"{self.path}: no results to hand over: {error}") from None
        if measured_in != json.loads(session):
            raise HandoverError(
                f"{self.path}: measured in another session than the stack has now: the cluster "
                "has been rebuilt since"
            )
        if results.errors:
            raise HandoverError(
                f"{self.path}: no number for {'; '.join(each.text() for each in results.errors)}"
            )
        return results


def write(path: Path, session: Mapping[str, Any], results: Results) -> None:
    """Write what is handed over.

    :param session: the descriptor of the session in which it was measured.
    :raises OSError: the file cannot be written.
    """
    data = {"session": dict(session), "results": results.to_dict()}
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Asked:
    """The benchmark's inputs of that name: both None for a plain command."""

    measure: str | None = None
    adopt: str | None = None


def asked(environment: Mapping[str, str]) -> Asked:
    """What the environment of a Pulumi command asks of the benchmark.

    :raises HandoverError: nothing that can be done.
    """
    measure, file = environment.get(MEASURE) or None, environment.get(RESULTS) or None
    if measure not in (None, LATER):
        raise HandoverError(f"{MEASURE}={measure}: must be {LATER}, or not set")
    return Asked(measure, Handover.of(Path(file)).to_json() if file else None)
