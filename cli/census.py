"""``python -m bench census``: the shape of a cluster, read without writing to it."""

import argparse
import warnings
from pathlib import Path

from urllib3.exceptions import InsecureRequestWarning

from bench.journal import write_whole
from cli.common import (
    MISSING_NUMBERS,
    OK,
    SESSION,
    USAGE,
    Commands,
    FatalError,
    interrupted_by_term,
    progress,
    writing,
)
from studies.census.model import Census, described

_WATCH_SECONDS, _MOST_SECONDS = 60, 86_400
_HELP = "read the shape of a cluster, without names, for scenarios in that shape"


def add_parsers(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("census", help=_HELP, description=_HELP)
    parser.set_defaults(execute=_census)
    parser.add_argument("--kubeconfig", metavar="FILE", help="that of kubectl by default")
    parser.add_argument("--context", metavar="NAME", help="the file's current one by default")
    parser.add_argument(
        "--out", default="census.json", metavar="FILE", help="census.json by default"
    )
    parser.add_argument(
        "--watch", type=int, default=_WATCH_SECONDS, metavar="SECONDS",
        help="how long changes of endpoints are counted: 60 by default, 0 for not at all",
    )  # fmt: skip
    parser.add_argument(
        "--rbac", action="store_true",
        help="only print a ClusterRole that allows just this, and its binding to a group",
    )  # fmt: skip


def _census(options: argparse.Namespace) -> int:
    if options.rbac:
        from components.census import rights

        print(rights.text(), end="")
        return OK
    if not 0 <= options.watch <= _MOST_SECONDS:
        raise FatalError(USAGE, f"--watch must be from 0 to {_MOST_SECONDS:,} seconds")
    out = Path(options.out)
    if not out.absolute().parent.is_dir():
        raise FatalError(USAGE, f"--out: there is no folder {out.parent}")
    census = _taken(options)
    with writing("the census"):
        write_whole(out, census.to_json())
    for line in described(census):
        print(line)
    for each in census.missing:
        progress(f"missing: {each.what}: {each.why}")
    progress(f"{census.partial or 'a whole census'}: {out}")
    return MISSING_NUMBERS if census.partial else OK


def _taken(options: argparse.Namespace) -> Census:
    from components.census.take import take
    from kube.client import Kube, settings_of
    from kube.objects import KubernetesError

    try:
        with interrupted_by_term(), warnings.catch_warnings():
            # It would name the server at every request; the kubeconfig's owner has chosen it.
            warnings.simplefilter("ignore", InsecureRequestWarning)
            api = Kube(settings_of(options.kubeconfig, options.context))
            return take(api, options.watch, progress)
    except KubernetesError as error:
        raise FatalError(SESSION, f"no census: {error}") from None
