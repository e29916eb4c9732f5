"""What scripts tell of a cluster's nodes: read, or refused as the session's own error."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.kubernetes import facts
from kube.objects import KubernetesError
from tests.fuzz.spoiling import in_time, spoiled_text

READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "clocks": (
        lambda text: facts.parse_cpu("node-1", text),
        "1789000000.123456 3600.25 cpu 10 0 5 100 1 0 2 3 0 0",
    ),
    "device": (
        lambda text: facts.parse_network("node-1", text),
        "interface: ens5\nmtu: 9001\ndriver: ena\nversion: 6.1\n",
    ),
    "allowances": (
        facts.parse_allowances,
        "     bw_in_allowance_exceeded: 12\n     pps_allowance_exceeded: 0\n",
    ),
    "usage": (
        facts.parse_usage,
        "abc cpu.stat usage_usec 123456\nabc memory.stat anon 4096\nabc memory.stat file_mapped 1\n"
        "def cpuacct.usage 98765\ndef memory.stat total_rss 8192\n",
    ),
    "pod": (
        facts.pod_facts,
        "device_mtu: 1500\nroute_mtu: 1450\ncongestion_control: cubic\n"
        "search: default.svc.cluster.local svc.cluster.local\n",
    ),
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_what_a_node_tells(name: str, data: st.DataObject) -> None:
    read, original = READERS[name]
    text = data.draw(spoiled_text([original]))
    with in_time():
        try:
            found = read(text)
        except KubernetesError as error:
            assert str(error)
            return
    if isinstance(found, facts.CpuTime):
        assert all(map(math.isfinite, (found.busy_seconds, found.time_of_day.ahead)))
    if name == "usage" and isinstance(found, dict):
        assert all(each.cpu_seconds >= 0 and each.memory_bytes >= 0 for each in found.values())
