"""The report's first sentence: what the verdicts say, in plain words.

Page, Markdown and terminal begin with it. It is about scenarios that took turns with the baseline,
and names a difference only where there is a verdict; scenarios with the same verdicts share a
clause, with the range of their effects.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.compare import Comparison, MetricComparison, Verdict
from bench.text import number
from report.sidebyside import SideBySide

ANSWER: Final = "http_p50"
DATA: Final = "tcp_throughput"
CPU: Final = "cpu_per_request"
_RANKS: Final = ("better", "no evidence", "too few runs", "worse")
_COUNTS: Final = {2: "two", 3: "three", 4: "four", 5: "five"}

NO_VERDICT: Final = (
    "No verdict yet: what was measured is too little, or too noisy. What follows rests on features "
    "and on what was published."
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """``text`` is the sentence, ``absolute`` its differences in the metrics' units, ``carries``
    what of it is claimed for EKS."""

    text: str
    absolute: str = ""
    carries: str = ""


def first_sentence(side: SideBySide) -> Sentence:
    """Of these scenarios."""
    baseline = side.baseline.name
    if not side.comparisons:
        return Sentence(f"{baseline} alone was measured: nothing can be compared with it.")
    if not any(each.interleaved for each in side.comparisons):
        return Sentence(
            "No verdict: the scenarios were measured at different times. Measure them together: "
            "make matrix."
        )
    lab = side.baseline.environment.shared_machine
    groups = list(_groups(side, (ANSWER, DATA)))
    if not any(set(group.verdicts) & {"better", "worse"} for group in groups):
        if any("no evidence" in group.verdicts for group in groups):
            text = f"nothing measured tells the scenarios apart from {baseline}."
            return Sentence(f"In the lab, {text}" if lab else text.capitalize())
        return Sentence(NO_VERDICT)
    clauses = [
        f"{group.who(side)} {_said(group, than=_named(side, baseline) if first else '')}"
        for first, group in zip((True, *(False,) * len(groups)), groups, strict=False)
    ]
    text = "; ".join(clauses) + "."
    return Sentence(
        f"In the lab, {text}" if lab else text,
        " ".join(_absolute(side, groups)),
        _carried(side) if lab else "",
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Comparisons with the same verdicts on some metrics; ``rest``: they are all that the groups
    before have left over."""

    metrics: tuple[str, ...]
    verdicts: tuple[Verdict | None, ...]
    members: tuple[Comparison, ...]
    rest: bool

    def who(self, side: SideBySide, *, short: bool = False) -> str:
        names = [each.labels[1] for each in self.members]
        if self.rest and len(names) > 1:
            count = _COUNTS.get(len(names), str(len(names)))
            return f"the other {count}" + ("" if short else f" ({listed(names)})")
        # Titles of several would hide the sentence; they stand below it.
        return listed(names) if short or len(names) > 1 else _named(side, names[0])

    def verdict(self, metric: str) -> Verdict | None:
        return self.verdicts[self.metrics.index(metric)]

    def found(self, metric: str) -> list[MetricComparison]:
        return [each.metrics[metric] for each in self.members if metric in each.metrics]

    def percent(self, metric: str) -> str:
        """The effects' sizes: ``12 to 17 %``."""
        return _range(abs(each.effect.value) for each in self.found(metric)) + " %"

    def absolute(self, metric: str) -> str:
        """The same in the metric's unit: ``14 to 20 µs``."""
        found = [each.effect.absolute for each in self.found(metric)]
        sizes = [each for each in found if each]
        unit = sizes[0].unit.removeprefix("CPU ")
        return f"{_range(abs(each.value) for each in sizes)} {unit}"

    def verb(self, one: str, several: str) -> str:
        return one if len(self.members) == 1 else several


def _groups(side: SideBySide, metrics: tuple[str, ...]) -> Iterator[_Group]:
    """The better ones first."""
    groups: dict[tuple[Verdict | None, ...], list[Comparison]] = {}
    shared = [each for each in side.comparisons if each.interleaved]
    for each in shared:
        found = [each.metrics.get(name) for name in metrics]
        relative = (m.verdict if m and m.effect.relative else None for m in found)
        groups.setdefault(tuple(relative), []).append(each)
    ordered = sorted(groups.items(), key=lambda item: [_rank(verdict) for verdict in item[0]])
    for place, (verdicts, members) in enumerate(ordered):
        last = place == len(ordered) - 1 and place > 0
        yield _Group(metrics, verdicts, tuple(members), last and shared == list(side.comparisons))


def _rank(verdict: Verdict | None) -> int:
    return _RANKS.index(verdict) if verdict in _RANKS else len(_RANKS)


def _said(group: _Group, *, than: str) -> str:
    than = f" than {than}" if than else ""
    match group.verdict(ANSWER):
        case "better":
            size = group.percent(ANSWER)
            answer = f"{group.verb('answers', 'answer')} a request in {size} less time{than}"
        case "worse":
            answer = f"{group.verb('takes', 'take')} {group.percent(ANSWER)} longer{than}"
            answer += " to answer a request"
        case _:
            answer = f"{group.verb('answers', 'answer')} a request no measurably faster or slower"
            answer += than
    if group.verdict(DATA) not in ("better", "worse"):
        return answer
    more = "more" if group.verdict(DATA) == "better" else "less"
    return f"{answer} and {group.verb('moves', 'move')} {group.percent(DATA)} {more} data"


def _absolute(side: SideBySide, groups: Sequence[_Group]) -> Iterator[str]:
    for metric, what, words in (
        (ANSWER, "A request takes {} in {}", ("less", "more")),
        (DATA, "A transfer moves {} in {}", ("more", "less")),
    ):
        result = side.baseline.results.metrics.get(metric)
        parts = [
            f"{group.absolute(metric)} {words[group.verdict(metric) == 'worse']} in "
            f"{group.who(side, short=True)}"
            for group in groups
            if group.verdict(metric) in ("better", "worse")
        ]
        if result and parts:
            median = f"{number(result.median)} {result.unit}"
            yield f"{what.format(median, side.baseline.name)}: {', '.join(parts)}."


def _carried(side: SideBySide) -> str:
    text = (
        "What carries over to EKS: which is faster, and how much CPU time it takes. The "
        "percentages of time and data do not."
    )
    parts = [
        f"{group.percent(CPU)} ({group.absolute(CPU)}) "
        f"{'less' if group.verdict(CPU) == 'better' else 'more'} in {group.who(side, short=True)}"
        for group in _groups(side, (CPU,))
        if group.verdict(CPU) in ("better", "worse")
    ]
    return f"{text} CPU time of a request: {', '.join(parts)}." if parts else text


def _named(side: SideBySide, name: str) -> str:
    title = next(each.title for each in side.scenarios if each.name == name)
    return f"{name} ({title})" if title else name


def listed(names: Sequence[str]) -> str:
    """Words in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _range(values: Iterable[float]) -> str:
    sizes = sorted(values)
    low, high = number(sizes[0], 2), number(sizes[-1], 2)
    return low if low == high else f"{low} to {high}"
