"""Makes the data, tables and figures of docs/ anew: ``make data``, or ``make data PARTS=matrix``.

What is measured takes hours in all, so each part can be made by itself:

- ``matrix``: the report of all scenarios in docs/example, and the README's figures (20 minutes);
- ``validation``: docs/validation (30 minutes);
- ``upgrade``: the example of docs/upgrade.md, from the study's Cilium (20 minutes);
- ``census``: the example of docs/census.md, from a lab of known shape (15 minutes);
- ``explain``: the example of docs/explain.md (4 minutes);
- ``experiments``: docs/experiments, each file by the command that it says it was made by (hours);
- ``proxies``: of these, kube-proxy's by its version and mode (40 minutes);
- ``example``: the report in docs/example from its data, without measuring;
- ``tables``: that, and figures and tables from all data that is there, without measuring.

A part replaces what is in docs/ only once it is whole.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from bench.metrics import PRIMARY
from bench.results import from_json
from cni.kubernetes import VERSIONS as KUBERNETES
from cni.platform import version_numbers
from components.benchmark import LATER, MEASURE
from components.settings import PROJECT as PROJECT_NAME
from report.explain import markdown as told
from report.show import metrics_table
from report.upgrade import Finding, markdown
from studies.census.model import described, read_census
from studies.explain import finding
from studies.matrix.state import EXPLANATION
from studies.upgrade import RECORD, SIDES, Upgrade
from tests.lab.users_cluster import census_while_endpoints_change, users_cluster

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
EXAMPLE, EXPERIMENTS, UPGRADE = DOCS / "example", DOCS / "experiments", DOCS / "upgrade"
MEASURED = EXAMPLE / "data"
"""The results behind the example's report."""
CENSUS = DOCS / "census"
_SHAPED = ("scenario-a", "scenario-d")
"""Scenarios that are measured in the shape of the census."""
EXPLAIN, GRAPH = DOCS / "explain", "roundtrip-scenario-e.svg"
SHOWN = MEASURED / "scenario-e.json"
"""The results that the README shows."""
_SCREENS = {"first-screen.png": (1280, 900), "phone.png": (390, 844)}

_VERSIONS = {
    f"scale-{mode}-{version}": {"scenario": {"kubeProxy": mode}, "eks": {"version": version}}
    for version in (min(KUBERNETES, key=version_numbers), max(KUBERNETES, key=version_numbers))
    for mode in ("iptables", "nftables")
}
COPIES: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "scale-iptables": ("scenario-a", {"scenario": {"kubeProxy": "iptables"}}),
    "scale-nftables": ("scenario-a", {"scenario": {"kubeProxy": "nftables"}}),
    "scale-ebpf": ("scenario-d", {}),
    # The other scenarios': which of them suits many Services is each one's own run to say.
    **{f"scale-{letter}": (f"scenario-{letter}", {}) for letter in "bce"},
    **{name: ("scenario-a", changes) for name, changes in _VERSIONS.items()},
}
"""Stacks of experiments that are copies of a scenario, on two nodes: of which, and what differs, by
section. kube-proxy is that of the default Kubernetes, and of the lab's oldest and newest."""
_SIZES, _BY_VERSION = "4,500,1000,5000,10000", "4,1000,10000"
"""Numbers of Services on a copy that has no data yet, and on one of another kube-proxy."""
PLOTS = {
    "scale.svg": (
        ("scale-iptables.json", "scale-nftables.json", "scale-ebpf.json"),
        "full_sync,change_sync,change_served,change_cpu,connect_p50_first,connect_p50_last,"
        "http_1000_p50_last,cni_memory",
    ),
    "kube-proxy.svg": (
        ("scale-iptables-*.json", "scale-nftables-*.json"),
        "full_sync,change_sync,change_served,change_stall,connect_p50_last",
    ),
    "host.svg": (("host-[a-e].json",), "rtt_p50,tcp_throughput,tcp_cpu_per_gb,udp_goodput"),
    "hops.svg": (
        ("hops-[a-e].json",), "chain_kept_p50,chain_new_p50,chain_kept_p99,chain_new_p99",
    ),
    "policy.svg": (
        ("policy-[b-e].json",), "policy_admit,policy_refuse,connect_p50,http_1000_p50",
    ),
    "disrupt.svg": (("disrupt-[a-e].json",), "gap_new,gap_kept,gap_dns,recovery"),
}  # fmt: skip
"""Figures of docs/experiments: of which data, and which metrics."""


def run(*argv: str, later: bool = False) -> None:
    """Run a command of the project, and end with its exit code if it fails."""
    print("$", shlex.join(argv), flush=True)
    environment = {**os.environ, **({MEASURE: LATER} if later else {})}
    done = subprocess.run(argv, cwd=PROJECT, env=environment, check=False)
    # 1, 6 and 7 tell of single numbers, checks and regressions, which are told in the documents.
    if done.returncode not in (0, 1, 6, 7):
        raise SystemExit(done.returncode)


def bench(*words: str) -> None:
    """Run a command of ``python -m bench``."""
    run(sys.executable, "-m", "bench", *words)


def matrix() -> None:
    """The report of all scenarios."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder, "matrix")
        try:
            bench("matrix", "--out", str(measured))
        except BaseException:
            # The folder goes, and with it what would take its stacks down later.
            bench("matrix", "--out", str(measured), "--down")
            raise
        shutil.rmtree(MEASURED, ignore_errors=True)
        MEASURED.mkdir(parents=True)
        for file in sorted(measured.glob("scenario-*.json")):
            results = from_json(file.read_text(encoding="utf-8"))
            (MEASURED / file.name).write_text(results.to_json() + "\n", encoding="utf-8")
        shutil.copy(measured / EXPLANATION, MEASURED)
    tables()


def example() -> None:
    """The report of the results in docs/example."""
    with tempfile.TemporaryDirectory() as folder:
        bench("report", str(MEASURED.relative_to(PROJECT)), "--out", folder)
        for name in ("index.html", "report.md", "metrics.csv"):
            shutil.copy(Path(folder, name), EXAMPLE / name)
    for name, size in _SCREENS.items():
        screenshot(EXAMPLE / "index.html", EXAMPLE / name, size)


def validation() -> None:
    """The page of a validation."""
    with tempfile.TemporaryDirectory() as folder:
        bench("validate", "--out", folder)
        for name in ("index.html", "validation.json"):
            shutil.copy(Path(folder, name), DOCS / "validation" / name)
    screenshot(DOCS / "validation" / "index.html", DOCS / "validation" / "page.png", (1280, 900))


def upgrade() -> None:
    """Scenario C from the study's version of Cilium to its own: better in some, worse in others."""
    with tempfile.TemporaryDirectory() as folder:
        bench("upgrade", "--stack", "scenario-c", "--from", "1.16.5", "--out", folder)
        record = Path(folder, RECORD).read_text(encoding="utf-8")
        metrics = Upgrade.model_validate(json.loads(record)["upgrade"]).metrics
        UPGRADE.mkdir(exist_ok=True)
        for side in SIDES:
            name = f"{side}.json"
            results = from_json(Path(folder, name).read_text(encoding="utf-8"))
            decided = (results.metrics[each].decided_by for each in metrics)
            text = results.only({*metrics, *filter(None, decided)}).to_json()
            (UPGRADE / name).write_text(f"{text}\n", encoding="utf-8")
        (UPGRADE / RECORD).write_text(record, encoding="utf-8")
    tables()


def census() -> None:
    """A census of a lab that is like a user's cluster, and scenarios in its shape."""
    with tempfile.TemporaryDirectory() as folder:
        taken, measured = Path(folder, "census.json"), Path(folder, "matrix")
        with users_cluster(Path(folder)) as cluster:
            census_while_endpoints_change(cluster, taken)
        try:
            bench("matrix", *_SHAPED, "--census", str(taken), "--out", str(measured))
        except BaseException:
            bench("matrix", "--out", str(measured), "--down")
            raise
        CENSUS.mkdir(exist_ok=True)
        shutil.copy(taken, CENSUS)
        shutil.copy(measured / "report" / "report.md", CENSUS)
    tables()


def explain() -> None:
    """Scenario E against scenario A."""
    with tempfile.TemporaryDirectory() as folder:
        bench("explain", "--stack", "scenario-e", "--against", "scenario-a", "--out", folder)
        EXPLAIN.mkdir(exist_ok=True)
        for name in (finding.RECORD, GRAPH):
            shutil.copy(Path(folder, name), EXPLAIN / name)
    tables()


def experiments() -> None:
    """Every experiment again."""
    experimented(commands())


def proxies() -> None:
    """kube-proxy of the oldest and the newest Kubernetes, in both modes."""
    experimented({file: words for file, words in commands().items() if file.stem in _VERSIONS})


def experimented(made_by: Mapping[Path, list[str]]) -> None:
    """These experiments, by stack; ablations bring up labs of their own."""
    by_stack: dict[str, list[tuple[Path, list[str]]]] = {}
    for file, words in sorted(made_by.items()):
        stack = words[words.index("--stack") + 1] if "--stack" in words else ""
        by_stack.setdefault(stack, []).append((file, words))
    for stack, wanted in by_stack.items():
        with standing(stack):
            for file, words in wanted:
                bench(*words, "--out", str(file))
    tables()


def commands() -> dict[Path, list[str]]:
    """The arguments of ``python -m bench`` that make each file of data, also of what is not there
    yet."""
    made = {
        EXPERIMENTS / f"{stack}.json": [
            *("scale", "--points", _BY_VERSION if stack in _VERSIONS else _SIZES),
            *("--rounds", "2" if stack in _VERSIONS else "3", "--stack", stack),
        ]
        for stack in COPIES
    }
    for file in EXPERIMENTS.glob("*.json"):
        made[file] = shlex.split(json.loads(file.read_text(encoding="utf-8"))["command"])[3:]
    return made


@contextmanager
def standing(stack: str) -> Iterator[None]:
    """A stack that is up for the length of the block, without having been measured."""
    if not stack:
        yield
        return
    file = PROJECT / f"Pulumi.{stack}.yaml"
    if stack in COPIES:
        file.write_text(yaml.safe_dump(copied(stack)), encoding="utf-8")
        run("pulumi", "stack", "select", "--create", stack)
    try:
        run("pulumi", "up", "--yes", "--skip-preview", "--stack", stack, later=True)
        yield
    finally:
        run("pulumi", "destroy", "--yes", "--skip-preview", "--stack", stack)
        if stack in COPIES:
            run("pulumi", "stack", "rm", "--yes", stack)
            file.unlink(missing_ok=True)


def copied(stack: str) -> dict[str, Any]:
    """The stack file of one of :data:`COPIES`."""
    origin, changes = COPIES[stack]
    file = PROJECT / f"Pulumi.{origin}.yaml"
    copy: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    for section, settings in {"lab": {"nodes": 2}, **changes}.items():
        key = f"{PROJECT_NAME}:{section}"
        copy["config"][key] = {**copy["config"].get(key, {}), **settings}
    return copy


def tables() -> None:
    """Figures and tables from the data that is there."""
    example()
    for name, (patterns, metrics) in PLOTS.items():
        files = [str(file) for each in patterns for file in sorted(EXPERIMENTS.glob(each))]
        out = str(EXPERIMENTS / name)
        if files:
            bench("experiments", "plot", *files, "--out", out, "--metrics", metrics)
    bench("experiments", "fill", str(DOCS / "experiments.md"))
    for document in FILLED:
        document.write_text(filled(document), encoding="utf-8")


def primary_metrics() -> str:
    """The table of the primary metrics that :data:`SHOWN` gives."""
    results = from_json(SHOWN.read_text(encoding="utf-8")).only(PRIMARY)
    written = StringIO()
    Console(file=written, width=80).print(metrics_table(results))
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    return "```\n" + "\n".join(lines).strip("\n") + "\n```\n"


def upgrade_example() -> str:
    """What ``--format markdown`` prints of the upgrade in docs/upgrade."""
    if not (UPGRADE / RECORD).exists():
        return ""
    record = json.loads((UPGRADE / RECORD).read_text(encoding="utf-8"))
    finding = Finding.of(
        Upgrade.model_validate(record["upgrade"]),
        {s: from_json((UPGRADE / f"{s}.json").read_text(encoding="utf-8")) for s in SIDES},
        record["reported"],
        record["tolerate"],
    )
    return f"\n{markdown(finding)}\n"


def explain_example() -> str:
    """What ``--format markdown`` prints of the explanation in docs/explain."""
    file = EXPLAIN / finding.RECORD
    if not file.exists():
        return ""
    found = finding.from_dict(json.loads(file.read_text(encoding="utf-8")))
    return f"\n{told(found, {'roundtrip': [f'explain/{GRAPH}']})}\n"


def census_example() -> str:
    """What ``census`` prints of docs/census, and how the report of its shape begins."""
    file, report = CENSUS / "census.json", CENSUS / "report.md"
    if not file.exists():
        return ""
    printed = "\n".join(described(read_census(file)))
    text = f"```\n{printed}\n```\n"
    if not report.exists():
        return text
    title, _, shape = report.read_text(encoding="utf-8").splitlines()[:3]
    sentence = title.removeprefix("# ")
    return f"{text}\n[The report](census/report.md) begins:\n\n> {sentence}\n>\n> {shape}\n"


FILLED = {
    PROJECT / "README.md": ("results: docs/example/data/scenario-e.json", primary_metrics),
    DOCS / "census.md": ("census: census/census.json", census_example),
    DOCS / "explain.md": ("explain: explain/explain.json", explain_example),
    DOCS / "upgrade.md": ("upgrade: upgrade/upgrade.json", upgrade_example),
}
"""Documents with a place for what their data gives: how it is marked, and what makes the text."""


def filled(document: Path) -> str:
    """One of :data:`FILLED` as its data has it."""
    mark, text = FILLED[document]
    start, end = f"<!-- {mark} -->\n", "<!-- end -->"
    before, _, rest = document.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}{text()}{end}{after}"


def screenshot(page: Path, image: Path, size: tuple[int, int]) -> None:
    """What a browser shows of a page first."""
    width, height = size
    run(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--window-size={width},{height}", f"--screenshot={image}", page.as_uri(),
    )  # fmt: skip


PARTS = {
    each.__name__: each
    for each in (
        *(matrix, example, validation, upgrade, census, explain),
        *(experiments, proxies, tables),
    )
}


_WITHIN = ("proxies", "tables")
"""Parts that others do, too."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make the parts that are named, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.documents", description=__doc__.split("\n\n")[0],
    )  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    for name in (parser.parse_args(argv).parts) or [name for name in PARTS if name not in _WITHIN]:
        if name not in PARTS:
            parser.error(f"no part {name!r}: choose of {', '.join(PARTS)}")
        PARTS[name]()


if __name__ == "__main__":
    main()
