"""The tables of a Markdown document, from the data that it names.

A table stands between two comments, of which the first says what it is made of::

    <!-- table: points scale.json connect_p50_last,cni_memory -->
    <!-- end -->

``points`` or ``effects`` (:mod:`report.experiments.markdown`), experiments' files relative to the
document, separated by commas, and metrics or facts.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from report.experiments.markdown import effects_table, points_table
from report.experiments.merge import merge
from studies.experiments.model import Experiment, from_dict

_TABLES = {"points": points_table, "effects": effects_table}
_PLACE = re.compile(
    rf"(?P<head><!-- table: (?P<kind>{'|'.join(_TABLES)}) (?P<files>\S+) (?P<names>.+?) -->\n)"
    r".*?(?P<foot><!-- end -->)",
    re.DOTALL,
)


def filled(text: str, folder: Path) -> str:
    """The document with its tables made anew.

    :param folder: the document's.
    :raises OSError: a file cannot be read.
    :raises ValueError: it is no JSON, or (ExperimentError) no experiment or without such a metric.
    """

    def made(place: re.Match[str]) -> str:
        found = load([folder / name for name in place["files"].split(",")])
        table = _TABLES[place["kind"]](found, place["names"].split(","))
        return f"{place['head']}\n{table}\n{place['foot']}"

    return _PLACE.sub(made, text)


def load(files: list[Path]) -> Experiment:
    """Several runs of an experiment as one.

    :raises OSError: a file cannot be read.
    :raises ValueError: it is no JSON, or (ExperimentError) no experiment, or not of the same.
    """
    return merge([from_dict(json.loads(file.read_text(encoding="utf-8"))) for file in files])
