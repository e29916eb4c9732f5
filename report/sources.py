"""What is compared and reported: stacks, result files, and folders of a matrix, in one form.

A folder has one result per scenario (``<stack>.json``), ``matrix.json`` with what the matrix knows
of them, and experiments (``experiments/*.json``). Nothing is measured here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bench import results
from bench.environment import Environment, ToggleRecord, toggle_records
from bench.results import Results, ResultsError
from report.stack import StackError, read_stack
from studies.experiments import model as experiments
from studies.experiments.model import Experiment, ExperimentError
from studies.matrix.state import MATRIX, MatrixRecord

EXPERIMENTS: Final = "experiments"


class SourceError(Exception):
    """Something that cannot be read; the message is one line that names it and says why."""


@dataclass(frozen=True, slots=True)
class MeasuredScenario:
    """One stack's results with what its other outputs say.

    ``warnings`` are the stack's own beside those of the results; ``origin`` is where it was read.
    """

    name: str
    results: Results
    toggles: Sequence[ToggleRecord] = ()
    warnings: tuple[str, ...] = ()
    origin: str = ""

    @property
    def decisions(self) -> list[ToggleRecord]:
        """What became of each toggle: by the results, or by the stack's other outputs."""
        return self.results.decisions or list(self.toggles)

    @property
    def environment(self) -> Environment:
        """Of the results."""
        return self.results.environment

    @property
    def title(self) -> str:
        """What the scenario is, in its author's words; empty where nobody said."""
        return self.results.scenario.title


@dataclass(frozen=True, slots=True)
class Collection:
    """All that was named, in its order; the first scenario is the baseline."""

    scenarios: tuple[MeasuredScenario, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    matrices: tuple[MatrixRecord, ...] = ()

    @property
    def failed(self) -> dict[str, str]:
        """Why scenarios of the matrix have no results."""
        have = {scenario.name for scenario in self.scenarios}
        return {
            name: why
            for matrix in self.matrices
            for name, why in matrix.failed.items()
            if name not in have
        }


@dataclass(slots=True)
class _Found:
    scenarios: list[MeasuredScenario] = field(default_factory=list)
    experiments: list[Experiment] = field(default_factory=list)
    matrices: dict[Path, MatrixRecord] = field(default_factory=dict)


def load(sources: Sequence[str]) -> Collection:
    """Read sources: a folder, a file, or else the name of a stack.

    :raises SourceError: one cannot be read, or two scenarios have the same name.
    """
    found = _Found()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            _read_folder(path, found)
        elif path.is_file() or path.suffix == ".json":
            _read_file(path, found)
        else:
            found.scenarios.append(_of_stack(source))
    names = [scenario.name for scenario in found.scenarios]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"{', '.join(twice)} is named twice: rename one file, its name is what it is called"
        )
    return Collection(
        tuple(found.scenarios), tuple(found.experiments), tuple(found.matrices.values())
    )


def _read_folder(folder: Path, found: _Found) -> None:
    files = sorted(path for path in folder.glob("*.json") if path.name != MATRIX)
    more = sorted((folder / EXPERIMENTS).glob("*.json"))
    if not files and not more:
        raise SourceError(f"{folder}: no results in it: <stack>.json, {EXPERIMENTS}/*.json")
    for path in (*_in_order(folder, files), *more):
        _read_file(path, found)


def _in_order(folder: Path, files: Sequence[Path]) -> list[Path]:
    """Results in the order in which the matrix was asked for them, all others by name."""
    record = _matrix(folder / MATRIX)
    stacks = record.stacks if record else []
    return sorted(
        files, key=lambda file: stacks.index(file.stem) if file.stem in stacks else len(stacks)
    )


def _read_file(path: Path, found: _Found) -> None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise SourceError(f"{path}: the JSON is no object")
        if str(data.get("schema", "")).startswith("cni-benchmark/experiment/"):
            found.experiments.append(experiments.from_dict(data))
            return
        read = results.from_dict(data)
    except (OSError, ResultsError, ExperimentError) as error:
        raise SourceError(f"{path}: {error}") from None
    except ValueError:
        raise SourceError(f"{path}: no JSON") from None
    matrix = _matrix_beside(path, found)
    toggles = toggle_records(matrix.toggles.get(path.stem) if matrix else None)
    found.scenarios.append(MeasuredScenario(path.stem, read, toggles, origin=str(path)))


def _matrix_beside(path: Path, found: _Found) -> MatrixRecord | None:
    """The record of the matrix that wrote this file, if one did."""
    file = path.parent / MATRIX
    record = found.matrices.get(file) or _matrix(file)
    if record:
        found.matrices[file] = record
    return record


def _matrix(file: Path) -> MatrixRecord | None:
    if not file.is_file():
        return None
    try:
        return MatrixRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise SourceError(f"{file}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SourceError(f"{file}: no record of a matrix: {where}: {first['msg']}") from None


def _of_stack(name: str) -> MeasuredScenario:
    try:
        outputs = read_stack(name)
    except StackError as error:
        raise SourceError(str(error)) from None
    return MeasuredScenario(
        name, outputs.results, outputs.decisions, outputs.warnings, f"stack {name}"
    )
