"""Turns, samples and cgroups together, for real: two paths over loopback, in place of labs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench.probes.base import Bench
from bench.probes.turns import CLIENT, SERVER
from bench.session import Pod, Session, Targets, TurnClient
from components.lab.perf import Recording, recording
from lab import cgroups, placement
from lab.bpf import compile_bpf
from lab.toolchain.build import Toolchain
from studies.explain import parts
from studies.explain.finding import Operation
from studies.explain.run import KINDS, ExplainError, profile, take

NODES = ("client", "server")


@dataclass(frozen=True)
class Loopback:
    """A side: a server on an address of its own, and cgroups for it and for its client."""

    address: str
    folder: Path

    def enter(self, node: str) -> list[str]:
        """The words that start a program in a cgroup."""
        return ["sh", "-c", f'echo $$ > {self.folder / node}/cgroup.procs; exec "$@"', "sh"]

    def turn_client(self, _pod: Pod) -> TurnClient:
        """See ``bench.session``."""
        usage = tuple(str(self.folder / node / "cpu.stat") for node in NODES)
        return TurnClient("here", tuple(self.enter("client")), placement.machine_cpus()[0], usage)

    def take_turns(self, _pod: Pod, plan: str, *, timeout: float) -> bytes:
        """See ``bench.session``."""
        words = [Toolchain.default().command("turns"), "run"]
        done = subprocess.run(
            words, input=plan.encode(), capture_output=True, timeout=timeout, check=True
        )
        return done.stdout

    def sampling(self) -> AbstractContextManager[Recording]:
        """See ``studies.experiments.capabilities``."""
        return recording("/usr/bin/perf", placement.machine_cpus())

    def node_cgroups(self) -> Mapping[str, str]:
        """See ``studies.experiments.capabilities``."""
        root = cgroups.hierarchy()
        return {f"/{(self.folder / node).relative_to(root)}": node for node in NODES}

    @contextmanager
    def serving(self) -> Iterator[Bench]:
        """The server runs."""
        for node in NODES:
            (self.folder / node).mkdir(parents=True)
        cpu = str(placement.machine_cpus()[-1])
        words = [*self.enter("server"), Toolchain.default().command("turns"), "serve"]
        server = subprocess.Popen([*words, "-cpu", cpu, "-host", self.address])
        time.sleep(0.5)
        pods = {role: (Pod(role, role, "here", self.address),) for role in (CLIENT, SERVER)}
        try:
            yield Bench(cast(Session, self), Targets(pods, cast(Any, None), cast(Any, None), ""))
        finally:
            server.terminate()
            server.wait()
            time.sleep(0.2)
            for folder in (*(self.folder / node for node in NODES), self.folder):
                folder.rmdir()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="perf and cgroups are Linux's")
def test_a_round_trip_over_loopback_is_laid_at_its_parts() -> None:
    top = cgroups.hierarchy()
    with ExitStack() as running:
        benches = [
            running.enter_context(Loopback(f"127.0.0.{side}", top / f"loopback-{side}").serving())
            for side in (1, 2)
        ]
        found = profile(replace(KINDS[0], batch=300), benches, 2.0)
    for side in found:
        assert len(side.whole) >= 3
        time_of = {part: float(side.of(part).mean()) for part in parts.PARTS}
        assert time_of[parts.OTHER] < 0.1 * side.whole.mean()
        assert min(time_of[part] for part in (parts.SOCKETS, parts.WAKING, parts.ROUTING)) > 0.5
        assert abs(time_of[parts.TUNNEL]) < 0.5
        # How well they add up is told by the output; here they are of the same size.
        assert 0.2 < float(side.of("sampled").mean()) / side.whole.mean() < 5
        assert any("tcp_sendmsg" in stack for stack in side.stacks)
        assert {stack[0] for stack in side.stacks} <= {*NODES, "woken"}


COST = """
struct __sk_buff;
__attribute__((section("cgroup_skb/egress"), used)) int known_cost(struct __sk_buff *skb)
{
    volatile unsigned int spent = 0;
    for (int i = 0; i < 10000; i++)
        spent += i;
    return 1;
}
char _license[] __attribute__((section("license"), used)) = "GPL";
"""
"""A program for all that a cgroup's sockets send."""


@contextmanager
def _costing(folder: Path, work: Path) -> Iterator[None]:
    """The program is at work in a cgroup."""
    built, pins = work / "cost.o", work / "bpf"
    pins.mkdir()
    attached = ["cgroup", "attach", str(folder), "cgroup_inet_egress", "pinned", str(pins / "cost")]
    compile_bpf(COST, built)
    _run("mount", "-t", "bpf", "bpf", str(pins))
    try:
        _run("bpftool", "prog", "load", str(built), str(pins / "cost"))
        _run("bpftool", *attached)
        yield
        _run("bpftool", *(word.replace("attach", "detach") for word in attached))
    finally:
        _run("umount", str(pins))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.mark.integration
def test_a_known_cost_is_named_with_its_size(tmp_path: Path) -> None:
    kind, top = replace(KINDS[0], batch=300), cgroups.hierarchy()
    with ExitStack() as running:
        sides = [Loopback(f"127.0.0.{n}", top / f"loopback-{n}") for n in (1, 2)]
        benches = [running.enter_context(side.serving()) for side in sides]
        running.enter_context(_costing(sides[1].folder / "client", tmp_path))
        alone = take(kind, benches, 2.0)
        plain, costing = (
            float(alone.cpu[alone.of(side)].mean()) / alone.took.shape[1] for side in (0, 1)
        )
        found = dict(zip(("plain", "costing"), profile(kind, benches, 4.0), strict=True))
    operation = Operation.of(kind.name, kind.what, "plain", [found])
    (part, size), *_ = operation.differences["costing"].causes()
    assert part == parts.BPF
    assert next(iter(operation.sides["costing"].symbols[part])) == "known_cost"
    # What the tasks' clocks say without any samples; how close it is depends on the machine.
    assert 0.2 < size.value / (costing - plain) < 5


def test_a_session_that_cannot_be_sampled_says_so() -> None:
    bench = Bench(cast(Session, object()), Targets({}, cast(Any, None), cast(Any, None), ""))
    with pytest.raises(ExplainError, match="cannot see which functions"):
        profile(KINDS[0], [bench], 1.0)
