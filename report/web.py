"""What all our pages and figures share: templates and one style.

A page is one HTML file, without network and scripts. A figure is an SVG element of a page, or an
SVG file of its own. Text stays text. In a page colours follow it: matplotlib can only write fixed
ones, so those of
:data:`COLOURS` become CSS variables of ``style.css``, and one figure serves light, dark and print.
A file of its own has the fixed colours on white.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.text import number

INK, MUTED, GRID, BAND = "#1b1b1b", "#6f6f6f", "#dcdcdc", "#e6f0e6"
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Okabe and Ito's colours, which colour-blind people can tell apart; one per subject."""
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Shapes that go with them, so that nothing depends on colour alone."""
BLUE, ORANGE = SERIES[0], SERIES[4]

COLOURS: Mapping[str, str] = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    BAND: "var(--band)",
    **{colour: f"var(--c{place})" for place, colour in enumerate(SERIES, 1)},
}

ROW = 0.24
"""Inches of height per row of a figure of rows."""
WIDE, NARROW = 9.0, 4.6
"""Inches of width: across a page, and one of several side by side (a phone's whole width)."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with dollar signs is no formula
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
}

_GROUP_ID = re.compile(r'(<g\b[^>]*?) id="[^"]*"')
_COORDINATES = re.compile(r' (?:d|x|y|transform|points)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}")


def templates(*, html: bool = True) -> Environment:
    """The folder's templates.

    :param html: escape what is put in, for pages; not for Markdown.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    return environment


@contextmanager
def figure(
    name: str, *, rows: int = 0, height: float = 0.0, width: float = WIDE
) -> Iterator[Figure]:
    """A figure in our style, as high as its rows need or as ``height`` says (inches).

    :param name: its own among a page's figures: ids in the SVG are made from it, the same in every
        run.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        size = (width, height or 0.9 + ROW * max(rows, 2))
        yield Figure(figsize=size, layout="constrained")


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows 0 … of a figure of rows, from the bottom up."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.tick_params(axis="y", length=0)


def size_text(x: float) -> str:
    """Short enough for a logarithmic axis, on which the large are close to each other."""
    return f"{x / 1_000:g}k" if x >= 1_000 else f"{x:g}"


def svg(drawn: Figure, label: str = "") -> str:
    """The figure as one SVG element.

    :param label: what it shows, for those who do not see it.
    """
    made = _saved(drawn)
    made = made[made.index("<svg") :]
    # Ids of groups are the same in every figure, and nothing refers to them.
    made = _GROUP_ID.sub(r"\1", made)
    made = _COORDINATES.sub(lambda path: _LONG.sub(_shortened, path[0]), made)
    for colour, variable in COLOURS.items():
        made = made.replace(colour, variable)
    if label:
        made = made.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
    return made


def svg_file(drawn: Figure) -> str:
    """The figure as an SVG document."""
    return _saved(drawn, "white")


def _saved(drawn: Figure, background: str = "none") -> str:
    """The same text for the same figure: without date, version or chance in it."""
    text = io.StringIO()
    drawn.savefig(
        text, format="svg", metadata={"Date": None, "Creator": None}, facecolor=background
    )
    return text.getvalue()


def _shortened(coordinate: re.Match[str]) -> str:
    """A coordinate to 0.01 pt."""
    return f"{float(coordinate[0]):.2f}".rstrip("0").rstrip(".")
