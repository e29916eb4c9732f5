"""The templates of pages, and the table of filters that they share."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.text import number


def environment(folder: Path, *, html: bool = True) -> Environment:
    """Templates of a folder, with ``base.html.j2`` and ``style.css`` of this one.

    :param html: escape what is put in, for pages; not for Markdown.
    """
    made = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["number"] = number
    return made
