"""An explanation for people: where the CPU time of an operation goes, and why sides differ."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.text import Text

from report.show import listing, plain_table
from studies.explain.finding import SCHEMA, Difference, Explanation, Interval, Operation
from studies.explain.parts import PARTS
from studies.explain.way import Followed, Kind, Step, Way

_MINUS = "\N{MINUS SIGN}"


def to_json(found: Explanation) -> str:
    """As the folder's record has it."""
    record = {"schema": SCHEMA, **found.model_dump(mode="json")}
    return json.dumps(record, indent=1, ensure_ascii=False)


def micro(value: float) -> str:
    """µs: two decimals, of large figures fewer."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.2f}"


def signed(value: float) -> str:
    """A difference in µs: ``+0.31``, ``−12.40``."""
    return f"{'+' if value >= 0 else _MINUS}{micro(abs(value))}"


def interval(each: Interval) -> str:
    """With its bounds."""
    return f"{signed(each.value)} ({signed(each.low)} to {signed(each.high)})"


def sentence(operation: Operation, side: str, baseline: str) -> str:
    """What differs and where it lies, in one sentence."""
    difference = operation.differences[side]
    took, before = operation.sides[side].whole, operation.sides[baseline].whole
    figures = f"{micro(took)} µs of CPU time against {micro(before)}"
    if not difference.whole.sure:
        return (
            f"No evidence that one {operation.what} takes more or less on {side} than on "
            f"{baseline} ({figures}); its parts differ{_because(difference) or ' in nothing'}."
        )
    word = "more" if difference.whole.value > 0 else "less"
    by = micro(abs(difference.whole.value))
    return (
        f"One {operation.what} takes {by} µs {word} on {side} than on {baseline} ({figures})"
        f"{_because(difference)}."
    )


def _because(difference: Difference, most: int = 5) -> str:
    causes = difference.causes()[:most]
    return (
        ": " + ", ".join(f"{signed(each.value)} {part}" for part, each in causes) if causes else ""
    )


def rows(operation: Operation) -> Iterator[tuple[str, ...]]:
    """The table of an operation: part; each side's time; each difference; the largest of it."""
    sides, differences = operation.sides, operation.differences
    for part in (each for each in PARTS if any(each in taken.parts for taken in sides.values())):
        yield (
            part,
            *(micro(taken.parts.get(part, 0.0)) for taken in sides.values()),
            # A part that only other sides have makes no difference here.
            *(
                interval(each.parts[part]) if part in each.parts else micro(0.0)
                for each in differences.values()
            ),
            _largest(operation, part),
        )
    yield (
        "all parts",
        *(micro(taken.sampled) for taken in sides.values()),
        *(interval(each.sampled) for each in differences.values()),
        "",
    )
    yield (
        "the tasks' own clocks",
        *(micro(taken.whole) for taken in sides.values()),
        *(interval(each.whole) for each in differences.values()),
        "",
    )
    yield (
        "parts against clocks",
        *(f"{100 * taken.off:+.1f} %" for taken in sides.values()),
        *("" for _ in differences),
        "",
    )


def _largest(operation: Operation, part: str, most: int = 3) -> str:
    """The functions with most time on any side, each with that of all sides in their order."""
    of_sides = [taken.symbols.get(part, {}) for taken in operation.sides.values()]
    names = {name: None for symbols in of_sides for name in symbols}
    told = {name: [symbols.get(name, 0.0) for symbols in of_sides] for name in names}
    top = sorted(told.items(), key=lambda each: -max(each[1]))[:most]
    return ", ".join(f"{name} {' / '.join(map(micro, values))}" for name, values in top)


def headings(operation: Operation) -> tuple[str, ...]:
    """Of the table."""
    return (
        "part",
        *operation.sides,
        *(f"{side} − baseline" if len(operation.sides) > 2 else "difference"
          for side in operation.differences),
        "largest in it, by side",
    )  # fmt: skip


def sentences(found: Explanation) -> list[str]:
    """One for each operation and side."""
    return [
        sentence(operation, side, found.baseline)
        for operation in found.operations
        for side in operation.differences
    ]


_COUNTED: Final[Mapping[Kind, str]] = {
    "device": "device",
    "program": "BPF program",
    "lookup": "route lookup",
}


def counts(followed: Followed) -> list[str]:
    """What a packet meets on each side, in a sentence."""
    said = []
    for side, way in followed.sides.items():
        met = [
            f"{number} {name}{'s' * (number != 1)}"
            for kind, name in _COUNTED.items()
            if (number := sum(step.kind == kind for step in way.steps))
        ]
        if rules := sum(step.rules for step in way.steps):
            met.append(f"{rules:,} rules")
        said.append(f"{side}: {', '.join(met)} ({100 * way.share:.0f} % of {way.packets} packets).")
    return said


def by_place(way: Way) -> list[tuple[str, list[Step]]]:
    """The steps in their order, those in one place together."""
    return [(place, list(steps)) for place, steps in groupby(way.steps, lambda step: step.place)]


def step_words(step: Step) -> str:
    """One thing on the way, in words."""
    match step.kind:
        case "device":
            return f"{step.note} at {step.what}"
        case "program":
            return f"BPF: {step.what}"
        case "lookup":
            return f"route lookup, {step.what} {step.note}"
        case "hook":
            return f"{step.what}, {step.note}"
        case _:
            return step.what


def _way_lines(followed: Followed) -> Iterator[tuple[str, list[str]]]:
    """By side, a line for each place."""
    for side, way in followed.sides.items():
        yield (
            side,
            [f"{place}: {' → '.join(map(step_words, steps))}" for place, steps in by_place(way)],
        )


def notes(found: Explanation) -> list[str]:
    """What a reader has to know, and what of the bounds is not kept."""
    facts = "; ".join(
        f"{side.name}: {', '.join(f'{k} {v}' for k, v in side.facts.items())}"
        for side in found.sides
    )
    return [
        f"µs of CPU time, of all nodes. {facts}. Kernel {found.kernel}.",
        f"Intervals: 95 %, Student's t over {found.unit}"
        + ("; another bring-up may differ by more." if found.bring_ups == 1 else "."),
        "What the nodes' programs do at rest is left out.",
        *found.doubts(),
        *found.warnings,
    ]


def rendered(found: Explanation) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = []
    for operation in found.operations:
        table = plain_table(f"CPU time of one {operation.what}, µs")
        for place, heading in enumerate(headings(operation)):
            last = place == len(headings(operation)) - 1
            table.add_column(
                heading, justify="left" if place == 0 or last else "right",
                overflow="fold", no_wrap=not last,
            )  # fmt: skip
        for row in rows(operation):
            table.add_row(*map(Text, row))
        parts += [table, Text()]
    for followed in found.ways:
        for side, lines in _way_lines(followed):
            parts += listing(f"The way of {followed.packet}: {side}", lines, "cyan")
    parts += listing("Notes", notes(found), "cyan")
    return Group(*parts, *map(Text, sentences(found)))


def markdown(found: Explanation, figures: Mapping[str, Sequence[str]]) -> str:
    """For a document.

    :param figures: the files of each operation's flame graphs.
    """
    lines = [*(f"- {line}" for line in sentences(found)), ""]
    for operation in found.operations:
        heading = headings(operation)
        lines += [f"**CPU time of one {operation.what}, µs**", ""]
        cells = [heading, ["---", *["---:"] * (len(heading) - 2), "---"]]
        cells += rows(operation)
        lines += [f"| {' | '.join(cell for cell in row)} |" for row in cells]
        lines += ["", *(f"[flame graph]({file})" for file in figures.get(operation.name, ())), ""]
    for followed in found.ways:
        lines += [f"**The way of {followed.packet}**", ""]
        for side, places in _way_lines(followed):
            lines += [f"- {side}", *(f"  1. {line}" for line in places)]
        lines += ["", *(f"- {line}" for line in counts(followed)), ""]
    lines += [*(f"- {line}" for line in notes(found))]
    return "\n".join(lines) + "\n"


def html(found: Explanation) -> Markup:
    """A page's part: the sentences, a figure of every difference, the tables folded."""
    # Draws with matplotlib, which terminals do without.
    from report import web

    template = web.templates().get_template("explain.html.j2")
    tables = {
        operation.what: {
            "headings": headings(operation),
            "rows": list(rows(operation)),
            "figures": [
                Markup(_drawn(operation, side, found.baseline)) for side in operation.differences
            ],
        }
        for operation in found.operations
    }
    return Markup(
        template.render(
            sentences=sentences(found), tables=tables, ways=found.ways, notes=notes(found),
            counts=counts, by_place=by_place, words=step_words,
        )
    )  # fmt: skip


def _drawn(operation: Operation, side: str, baseline: str) -> str:
    """The difference of each part, largest first, with its interval."""
    from report.web import BLUE, MUTED, ORANGE, figure, label_rows, svg

    difference = operation.differences[side]
    parts = sorted(difference.parts.items(), key=lambda each: abs(each[1].value))
    shown = [*parts, ("all, by the tasks' clocks", difference.whole)]
    name = f"CPU time of one {operation.what}: {side} against {baseline}"
    with figure(name, rows=len(shown)) as drawn:
        axes = drawn.subplots()
        axes.axvline(0, color=MUTED, lw=0.8)
        for row, (_, each) in enumerate(shown):
            colour = MUTED if not each.sure else ORANGE if each.value > 0 else BLUE
            axes.barh(row, each.value, 0.6, color=colour)
            axes.plot([each.low, each.high], [row, row], color=MUTED, lw=1.5)
        label_rows(axes, [part for part, _ in shown])
        axes.set_xlabel(f"µs of CPU time, {side} less {baseline} (grey: no evidence)")
        spoken = "; ".join(f"{part} {interval(each)}" for part, each in reversed(shown))
        return svg(drawn, f"{name}: {spoken}")
