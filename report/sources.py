"""What is compared and reported: stacks, result files, and folders of a matrix, in one form.

A folder has one result per scenario (``<stack>.json``), ``matrix.json`` with what the matrix knows
of them, and experiments (``experiments/*.json``). Stacks are asked through the ``pulumi`` command.
Nothing is measured here.
"""

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from bench import results
from bench.environment import Environment, ToggleRecord, toggle_records
from bench.results import Results, ResultsError
from bench.text import problem, tail
from report.lifetime import warn_if_overdue
from studies.experiments import model as experiments
from studies.experiments.model import Experiment, ExperimentError
from studies.explain import finding
from studies.explain.finding import Explanation, ExplanationError
from studies.matrix.state import MATRIX, MatrixRecord

EXPERIMENTS: Final = "experiments"
_TIMEOUT_SECONDS = 60


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
    explanations: tuple[Explanation, ...] = ()
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


def load(sources: Sequence[str]) -> Collection:
    """Read sources: a folder, a file, or else the name of a stack.

    :raises SourceError: one cannot be read, or two scenarios have the same name.
    """
    reader = _Reader()
    for source in sources:
        path = Path(source)
        if path.is_dir():
            reader.folder(path)
        elif path.is_file() or path.suffix == ".json":
            reader.file(path)
        else:
            reader.scenarios.append(read_stack(source))
    names = [scenario.name for scenario in reader.scenarios]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"{', '.join(twice)} is named twice: rename one file, its name is what it is called"
        )
    return Collection(
        tuple(reader.scenarios),
        tuple(reader.experiments),
        tuple(reader.explanations),
        tuple(reader.matrices.values()),
    )


@dataclass(slots=True)
class _Reader:
    """What was read so far."""

    scenarios: list[MeasuredScenario] = field(default_factory=list)
    experiments: list[Experiment] = field(default_factory=list)
    explanations: list[Explanation] = field(default_factory=list)
    matrices: dict[Path, MatrixRecord] = field(default_factory=dict)

    def folder(self, folder: Path) -> None:
        """Results in the order in which the matrix was asked for them, all others by name."""
        files = sorted(path for path in folder.glob("*.json") if path.name != MATRIX)
        more = sorted((folder / EXPERIMENTS).glob("*.json"))
        if not files and not more:
            raise SourceError(f"{folder}: no results in it: <stack>.json, {EXPERIMENTS}/*.json")
        record = _matrix(folder / MATRIX)
        stacks = record.stacks if record else []
        files.sort(key=lambda file: stacks.index(file.stem) if file.stem in stacks else len(stacks))
        for path in (*files, *more):
            self.file(path)

    def file(self, path: Path) -> None:
        """One scenario's results, with what the matrix beside them says, or an experiment."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise SourceError(f"{path}: the JSON is no object")
            if str(data.get("schema", "")).startswith("cni-benchmark/experiment/"):
                self.experiments.append(experiments.from_dict(data))
                return
            if str(data.get("schema", "")).startswith("cni-benchmark/explain/"):
                self.explanations.append(finding.from_dict(data))
                return
            read = results.from_dict(data)
        except (OSError, ResultsError, ExperimentError, ExplanationError) as error:
            raise SourceError(f"{path}: {error}") from None
        except ValueError:
            raise SourceError(f"{path}: no JSON") from None
        beside = path.parent / MATRIX
        matrix = self.matrices.get(beside) or _matrix(beside)
        if matrix:
            self.matrices[beside] = matrix
        toggles = toggle_records(matrix.toggles.get(path.stem) if matrix else None)
        self.scenarios.append(MeasuredScenario(path.stem, read, toggles, origin=str(path)))


def _matrix(file: Path) -> MatrixRecord | None:
    if not file.is_file():
        return None
    try:
        return MatrixRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise SourceError(f"{file}: {error}") from None
    except ValidationError as error:
        raise SourceError(f"{file}: no record of a matrix: {problem(error)}") from None


def read_stack(stack: str) -> MeasuredScenario:
    """A stack's results with its warnings and what became of its toggles.

    :raises SourceError: there is no pulumi, no such stack, or it has no readable results.
    """
    return parse_outputs(stack, _outputs(stack))


def read_session(stack: str) -> dict[str, Any]:
    """The descriptor of a stack's session (its output ``session``, JSON text).

    :raises SourceError: there is no pulumi, no such stack, or it is not up.
    """
    try:
        return dict(json.loads(json.loads(_outputs(stack))["session"]))
    except (ValueError, KeyError, TypeError):
        raise SourceError(
            f"stack {stack!r} has no session: run pulumi up -s {stack} first"
        ) from None


def _outputs(stack: str) -> str:
    command = ["pulumi", "stack", "output", "--json", "--non-interactive", "-s", stack]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError:
        raise SourceError('pulumi is not on PATH: try eval "$(make -s env)" first') from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"pulumi did not answer in {_TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        raise SourceError(f"pulumi cannot read stack {stack!r}: {tail(done.stderr or done.stdout)}")
    with suppress(ValueError, AttributeError):  # whoever reads it says so
        warn_if_overdue(stack, json.loads(done.stdout).get("cluster"))
    return done.stdout


def parse_outputs(stack: str, text: str) -> MeasuredScenario:
    """Read the JSON of ``pulumi stack output --json``.

    :raises SourceError: no JSON object, or no readable ``results`` in it.
    """
    try:
        outputs = json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceError(f"pulumi's outputs of stack {stack!r} are no JSON: {error}") from None
    if not isinstance(outputs, dict) or not outputs.get("results"):
        raise SourceError(f"stack {stack!r} has no results: run pulumi up -s {stack} first")
    data = outputs["results"]
    try:
        read = results.from_json(data) if isinstance(data, str) else results.from_dict(data)
    except (ResultsError, AttributeError) as error:
        raise SourceError(f"stack {stack!r}: {error}") from None
    warnings = outputs.get("warnings")
    return MeasuredScenario(
        stack,
        read,
        toggles=toggle_records(outputs.get("toggles")),
        warnings=tuple(str(item) for item in warnings) if isinstance(warnings, list) else (),
        origin=f"stack {stack}",
    )
