"""An upgrade for people: what changes in its configuration, what it does, and the verdict."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from bench.results import Results
from report.show import listing, plain_table
from report.sidebyside import SideBySide, as_markdown, render, side_by_side
from report.sources import MeasuredScenario
from studies.upgrade import FROM, SCHEMA, SIDES, TO, Change, Outcome, Upgrade, changes, conclude

_TITLES: Final = {
    "values": "Values for the installer",
    "configuration": "Settings of the agents as the installer makes them",
    "agent": "What agents say of their own settings",
}
_REFUSED = "What the new side does not take, or wants known"
_HEADINGS = ("", "setting", *SIDES)
_LONGEST = 48


@dataclass(frozen=True, slots=True)
class Finding:
    """All that is known in the end; ``reported`` are agents' own settings by side."""

    upgrade: Upgrade
    side: SideBySide
    outcome: Outcome
    reported: Mapping[str, Mapping[str, str]]
    tolerate: float

    @classmethod
    def of(
        cls,
        upgrade: Upgrade,
        results: Mapping[str, Results],
        reported: Mapping[str, Mapping[str, str]],
        tolerate: float,
    ) -> "Finding":
        """From what was measured."""
        have = {name for each in results.values() for name in each.metrics}
        side = side_by_side(
            [MeasuredScenario(name, results[name]) for name in SIDES],
            metrics=[name for name in upgrade.metrics if name in have],
        )
        side = replace(side, decisive=upgrade.also_decisive)
        outcome = conclude(upgrade, side.comparisons[0], tolerate)
        return cls(upgrade, side, outcome, reported, tolerate)

    @property
    def changes(self) -> dict[str, list[Change]]:
        """All that changes, by what it is a setting of."""
        told = self.upgrade.changes()
        if {*SIDES} <= self.reported.keys():
            # What only one version tells of has been renamed as often as it is gone.
            said = changes(self.reported[FROM], self.reported[TO])
            told["agent"] = [each for each in said if each.kind == "changed"]
        return {name: found for name, found in told.items() if found}

    def to_json(self) -> str:
        """As the upgrade's record has it."""
        record = {
            "schema": SCHEMA,
            "upgrade": self.upgrade.model_dump(mode="json"),
            "reported": self.reported,
            "changes": {
                name: [each.model_dump() for each in found] for name, found in self.changes.items()
            },
            "comparison": self.side.comparisons[0].to_dict(),
            "tolerate": self.tolerate,
            **self.outcome.model_dump(),
        }
        return json.dumps(record, indent=2, ensure_ascii=False)


def rendered(finding: Finding) -> RenderableType:
    """For a terminal, all but the verdict, which is to stay one line."""
    parts: list[RenderableType] = []
    for name, found in finding.changes.items():
        table = plain_table(_title(name, found))
        for heading in _HEADINGS:
            table.add_column(heading, overflow="fold", no_wrap=not heading)
        for row in _rows(found):
            table.add_row(*map(Text, row))
        parts += [table, Text()]
    parts += listing(_REFUSED, finding.upgrade.refused, "yellow")
    return Group(*parts, render(finding.side))


def markdown(finding: Finding) -> str:
    """For a pull request: the verdict first, and folded what the scenario does not set."""
    lines = [f"**{finding.outcome.verdict}**", "", as_markdown(finding.side)]
    for name, found in finding.changes.items():
        ours, others = ([each for each in found if each.ours is own] for own in (True, False))
        lines += [f"{_title(name, found)}:", "", *_markdown_table(ours)]
        if others:
            summary = f"{len(others)} that the scenario does not set"
            lines += [f"<details><summary>{summary}</summary>", ""]
            lines += [*_markdown_table(others), "</details>", ""]
    if finding.upgrade.refused:
        lines += [f"{_REFUSED}:", "", *(f"- {line}" for line in finding.upgrade.refused)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(found: Sequence[Change]) -> Iterator[str]:
    for row in (_HEADINGS, ["---"] * len(_HEADINGS), *_rows(found)) if found else ():
        yield f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |"
    if found:
        yield ""


def _title(name: str, found: Sequence[Change]) -> str:
    kinds = [each.kind for each in found]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted({*kinds}))
    return f"{_TITLES[name]} ({counted}; * set by the scenario)"


def _rows(found: Sequence[Change]) -> Iterator[Sequence[str]]:
    for each in found:
        yield each.kind + "*" * each.ours, each.key, _short(each.before), _short(each.after)


def _short(value: str | None) -> str:
    line = "-" if value is None else " ".join(value.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
