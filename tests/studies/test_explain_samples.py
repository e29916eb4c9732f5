"""What perf has recorded is read: on some hundred samples of labs whose sides took turns."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from pathlib import Path

import pytest

from bench.text import ParseError
from studies.explain import parts
from studies.explain.parts import share
from studies.explain.samples import Sample, read

FIXTURES = Path(__file__).parents[1] / "fixtures" / "studies"
LAB = "/cni-benchmark/cni-benchmark-upgrade-"


def recorded(name: str) -> tuple[bytes, str]:
    """A recording, and the kernel's functions that it needs."""
    data = gzip.decompress((FIXTURES / f"{name}.perf.gz").read_bytes())
    return data, gzip.decompress((FIXTURES / f"{name}.kallsyms.gz").read_bytes()).decode()


def of_labs(name: str) -> list[Sample]:
    """The samples of the labs' nodes."""
    return [each for each in read(*recorded(name)) if each.cgroup.startswith(LAB)]


def test_samples_have_their_time_their_cgroup_and_the_kernels_functions() -> None:
    samples = list(read(*recorded("scenario-a")))
    assert len(samples) == 340
    assert sum(each.cgroup.startswith(LAB) for each in samples) >= 300
    first, last = min(each.at for each in samples), max(each.at for each in samples)
    assert 1e9 < last - first < 2e9
    assert {each.lasts for each in samples} == {249_989}  # what perf was asked for then
    deepest = max(samples, key=lambda each: len(each.stack)).stack
    assert deepest[-1] == "entry_SYSCALL_64_after_hwframe"
    assert "tcp_sendmsg" in deepest
    assert any(not each.stack for each in samples)  # a program itself ran


def test_the_parts_of_a_path_with_iptables_are_told_apart() -> None:
    counts = Counter(share(each.stack, "").part for each in of_labs("scenario-a"))
    assert counts[parts.OTHER] <= 0.02 * counts.total()
    for part in (parts.RULES, parts.TRACKING, parts.ROUTING, parts.DEVICES, parts.SOCKETS):
        assert counts[part] >= 3, part
    assert counts[parts.WAKING] > counts[parts.COPIES] > 0
    assert not counts[parts.TUNNEL]


def test_the_parts_of_a_path_with_bpf_programs_are_told_by_name() -> None:
    shares = [
        share(each.stack, each.cgroup.removeprefix(LAB).partition("/")[2].partition("/")[2])
        for each in of_labs("scenario-d")
    ]
    counts = Counter(each.part for each in shares)
    assert counts[parts.OTHER] <= 0.02 * counts.total()
    assert counts[parts.BPF] >= 30
    assert {each.what for each in shares if each.part == parts.AGENTS} == {"cilium-agent"}
    programs = {each.what for each in shares if each.part == parts.BPF}
    assert {"cil_from_netdev", "cil_lxc_policy", "tail_handle_ipv4"} <= programs
    assert not counts[parts.RULES]


def _changed(data: bytes, kind: int) -> bytes:
    """The first sample becomes a record of another kind."""
    (start,) = struct.unpack_from("<Q", data, 40)
    place = start
    while struct.unpack_from("<I", data, place)[0] != 9:
        place += struct.unpack_from("<H", data, place + 6)[0]
    return data[:place] + struct.pack("<I", kind) + data[place + 4 :]


@pytest.mark.parametrize("kind", [2, 13])
def test_lost_samples_are_no_recording(kind: int) -> None:
    data, symbols = recorded("scenario-a")
    with pytest.raises(ParseError, match="samples were lost"):
        list(read(_changed(data, kind), symbols))


def test_what_is_cut_off_or_of_another_kind_is_refused() -> None:
    data, symbols = recorded("scenario-a")
    with pytest.raises(ParseError, match="cut off"):
        list(read(data[:-100], symbols))
    with pytest.raises(ParseError, match="no recording"):
        list(read(b"PERFILE1" + data[8:], symbols))
    (attributes,) = struct.unpack_from("<Q", data, 24)
    other = bytearray(data)
    struct.pack_into("<Q", other, attributes + 24, 0x107)
    with pytest.raises(ParseError, match="of type 0x107 cannot be read"):
        list(read(bytes(other), symbols))
