"""A differential flame graph: two profiles on one scale, coloured by what differs; an SVG file.

The upper half is the side's, the lower half the baseline's. A box is a function, its width the time
in it and in what it called; what called it is below. Red: it takes more on the side than on the
baseline; blue: less. Hovering shows the figures. Nothing is loaded, and there is no script.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from markupsafe import escape

from bench.text import number

Stack = tuple[str, ...]
"""Functions, the outermost first."""

_WIDTH, _ROW, _MARGIN, _HEAD = 1_200.0, 15, 8.0, 22
_NARROWEST: Final = 0.6
_LETTER: Final = 6.2
_FULL: Final = 0.08
"""A difference of this share of the whole has the full colour."""


@dataclass(slots=True)
class _Node:
    """A function below those that called it: its time on both, in it and in what it called."""

    own: float = 0.0
    base: float = 0.0
    below: dict[str, "_Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Box:
    """Where a function is drawn: its row from the bottom, and its extent in µs."""

    name: str
    row: int
    left: float
    width: float
    own: float
    base: float


def _tree(own: Mapping[Stack, float], base: Mapping[Stack, float]) -> _Node:
    root = _Node()
    for place, stacks in enumerate((own, base)):
        for stack, amount in stacks.items():
            if amount <= 0:  # less than at rest: by chance
                continue
            node = root
            for name in ("all", *stack):
                node = node.below.setdefault(name, _Node())
                if place == 0:
                    node.own += amount
                else:
                    node.base += amount
    return root


def layout(
    own: Mapping[Stack, float], base: Mapping[Stack, float], *, of_base: bool = False
) -> list[Box]:
    """The boxes of one half; functions beside each other by name, alike in both halves."""

    def boxes(node: _Node, row: int, left: float) -> Iterator[Box]:
        for name in sorted(node.below):
            each = node.below[name]
            width = each.base if of_base else each.own
            if width > 0:
                yield Box(name, row, left, width, each.own, each.base)
                yield from boxes(each, row + 1, left)
                left += width

    return list(boxes(_tree(own, base), 0, 0.0))


def colour(difference: float, whole: float) -> str:
    """From blue (less) over grey to red (more)."""
    strength = min(1.0, abs(difference) / (_FULL * whole)) ** 0.5 if whole else 0.0
    fade = round(235 - 145 * strength)
    return f"rgb(235,{fade},{fade})" if difference > 0 else f"rgb({fade},{fade},235)"


def flame_graph(
    own: Mapping[Stack, float],
    base: Mapping[Stack, float],
    *,
    names: tuple[str, str],
    what: str,
) -> str:
    """The SVG document.

    :param own, base: µs of CPU time by stack, of the side and of the baseline.
    :param names: of both.
    :param what: one of what the time is of: "round trip".
    """
    halves = [layout(own, base), layout(own, base, of_base=True)]
    whole = max((box.width for half in halves for box in half), default=1.0)
    scale = (_WIDTH - 2 * _MARGIN) / whole
    drawn: list[str] = []
    top = _HEAD
    for name, half in zip(names, halves, strict=True):
        shown = [box for box in half if box.width * scale >= _NARROWEST]
        rows = max((box.row for box in shown), default=0) + 1
        total = next((box.width for box in half), 0.0)
        title = f"{name}: {number(total)} µs of CPU time per {what}"
        drawn.append(f'<text class="h" x="{_MARGIN}" y="{top + 14}">{escape(title)}</text>')
        bottom = top + _HEAD + rows * _ROW
        drawn += (_drawn(box, bottom, scale, whole, names) for box in shown)
        top = bottom + _HEAD
    legend = (
        f"Red: more in {names[0]} than in {names[1]}; blue: less. One scale for both; "
        "callers below, what they call above."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {top:g}" '
        f'width="{_WIDTH:g}" height="{top:g}">\n'
        "<style>text{font:10px monospace;fill:#111}.h{font:bold 13px sans-serif}"
        "rect{stroke:#fff;stroke-width:.4}g:hover rect{stroke:#000}</style>\n"
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{_MARGIN}" y="14">{escape(legend)}</text>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _drawn(box: Box, bottom: float, scale: float, whole: float, names: tuple[str, str]) -> str:
    left, width = _MARGIN + box.left * scale, box.width * scale
    top = bottom - (box.row + 1) * _ROW
    difference = box.own - box.base
    told = (
        f"{box.name}: {names[0]} {number(box.own)} µs, {names[1]} {number(box.base)} µs "
        f"({difference:+.2f})"
    )
    room = int((width - 4) / _LETTER)
    label = box.name if len(box.name) <= room else box.name[: room - 1] + "…" if room > 3 else ""
    text = f'<text x="{left + 2:.1f}" y="{top + 11}">{escape(label)}</text>' if label else ""
    return (
        f"<g><title>{escape(told)}</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW}" '
        f'fill="{colour(difference, whole)}"/>{text}</g>'
    )
