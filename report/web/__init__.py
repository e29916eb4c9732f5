"""What all our pages share: one HTML file each, no network, no scripts.

Templates and style are here, figures in :mod:`report.web.figure`.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.text import number


def environment(folder: Path, *, html: bool = True) -> Environment:
    """Templates of a folder, with ``base.html.j2`` and ``style.css`` of this one.

    :param html: escape what is put in, for pages; not for Markdown.
    """
    templates = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["number"] = number
    return templates
