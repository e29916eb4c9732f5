"""What a lab puts into this machine, listed while it runs, so that it can be looked for afterwards.

Everything is told apart by identity (process start times, namespace inodes, BPF ids, which the
kernel does not use again), because other labs may come and go on the machine at the same time.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import cgroups
from lab.cluster import Lab
from lab.wait import until

#: Every process that a test run starts has this variable, with the run's own value.
RUN_MARK = "CNI_BENCHMARK_TEST_RUN"
_NAMESPACES = ("net", "mnt", "pid")
_HOST = "/pulumi-language-python "
#: Commands of bpf(2), and its number (linux/bpf.h, asm/unistd.h).
_GET_NEXT_ID = {"prog": 11, "map": 12, "link": 31}
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), -1)
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Everything of one running lab that must be gone when it has been stopped."""

    lab_id: str
    processes: frozenset[tuple[int, str]]
    """PID on the host and start time."""
    namespaces: frozenset[str]
    """As ``/proc/<pid>/ns`` shows them: ``net:[4026532000]``."""
    bpf: frozenset[tuple[str, int]]
    """Kind and id."""

    @classmethod
    def of(cls, lab: Lab) -> Footprint:
        """List what a running lab has."""
        pids = pids_inside(lab.sandbox.init_pid)
        return cls(
            lab_id=lab.paths.lab_id,
            processes=frozenset((pid, _start_time(pid)) for pid in pids),
            namespaces=frozenset(_namespaces(lab, pids)),
            bpf=frozenset(_bpf(lab, pids)),
        )

    def remaining(self) -> list[str]:
        """What of it is still there, one line each."""
        return [
            *(f"process {each}" for each in sorted(self._processes())),
            *(f"namespace {each}" for each in sorted(self._namespaces())),
            *(f"mount {line}" for line in _own_mounts() if self.lab_id in line),
            *(f"cgroup {folder}" for folder in cgroups.hierarchy().rglob(self.lab_id)),
            *(f"BPF {kind} {id_}" for kind, id_ in sorted(self.bpf & _bpf_of_the_machine())),
        ]

    def wait_until_gone(self) -> None:
        """Wait for the kernel, which frees BPF maps and network namespaces in its own time."""
        until(
            f"all of the lab {self.lab_id} to be gone",
            lambda: "\n".join(self.remaining()) or None,
            timeout=60,
        )

    def _processes(self) -> Iterator[str]:
        for pid in _all_pids():
            ours = (pid, _start_time(pid)) in self.processes
            if ours or self.lab_id in _command_line(pid):
                yield f"{pid}: {_command_line(pid)}"

    def _namespaces(self) -> set[str]:
        alive: set[str] = set()
        for pid in _all_pids():
            alive |= set(_namespaces_of(pid))
            with suppress(OSError):  # a bind mount keeps a network namespace, as `ip netns` has it
                text = Path(f"/proc/{pid}/mountinfo").read_text()
                alive |= {word for word in text.split() if word.startswith("net:[")}
        return alive & self.namespaces


@dataclass(frozen=True, slots=True)
class Host:
    """What the host itself shows, labs or no labs: they have none of it."""

    mounts: frozenset[str]
    named_namespaces: str
    """``ip netns``."""
    links: frozenset[str]

    @classmethod
    def now(cls) -> Host:
        links = _json(_output(["ip", "-json", "link", "show"]))
        return cls(
            _own_mounts(), _output(["ip", "netns"]), frozenset(link["ifname"] for link in links)
        )


def _own_mounts() -> frozenset[str]:
    return frozenset(Path("/proc/self/mounts").read_text().splitlines())


def of_this_run(mark: str, *, hosts: bool = True) -> dict[int, str]:
    """Processes that a test run has started, whatever became of their parents: by PID.

    :param hosts: with Pulumi's host of programs, which looks after its engine only every five
        minutes, and stays for so long after one that was killed.
    """
    needle = f"{RUN_MARK}={mark}".encode()
    found = {}
    for pid in _all_pids():
        with suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if pid != os.getpid() and needle in environment:
                found[pid] = _command_line(pid)
    return {pid: line for pid, line in found.items() if hosts or _HOST not in line}


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command_line(pid: int) -> str:
    with suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _start_time(pid: int) -> str:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def pids_inside(init: int) -> list[int]:
    """Those in the PID namespace of a sandbox's first process."""
    inside = Path(f"/proc/{init}/ns/pid").readlink()
    found = []
    for pid in _all_pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/ns/pid").readlink() == inside:
                found.append(pid)
    return found


def _namespaces_of(pid: int) -> Iterator[str]:
    for kind in _NAMESPACES:
        with suppress(OSError):
            yield str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def named_namespaces(init: int) -> Iterator[Path]:
    """The network namespaces of a sandbox that have names."""
    return Path(f"/proc/{init}/root/run/netns").iterdir()


def _namespaces(lab: Lab, pids: list[int]) -> Iterator[str]:
    for pid in pids:
        yield from _namespaces_of(pid)
    for file in named_namespaces(lab.sandbox.init_pid):
        yield f"net:[{file.stat().st_ino}]"


def _bpf(lab: Lab, pids: list[int]) -> set[tuple[str, int]]:
    """Held by a process's file descriptor, pinned on a node, or attached to a device or cgroup."""
    found: set[tuple[str, int]] = set()
    for pid in pids:
        with suppress(OSError):
            for file in Path(f"/proc/{pid}/fdinfo").iterdir():
                with suppress(OSError):
                    found |= set(_in_fdinfo(file.read_text()))
    programs = {id_ for kind, id_ in found if kind == "prog"}
    maps_of: dict[int, list[int]] = {}
    for node in lab.nodes:
        for program in _json(lab.node_command(node, ["bpftool", "-j", "-f", "prog", "show"])):
            maps_of[program["id"]] = program.get("map_ids", [])
            if program.get("pinned"):
                programs.add(program["id"])
        programs |= set(_ids(_json(lab.node_command(node, ["bpftool", "-j", "net", "show"]))))
        for link in _json(lab.node_command(node, ["bpftool", "-j", "-f", "link", "show"])):
            if link.get("pinned"):
                found.add(("link", link["id"]))
                programs.add(link["prog_id"])
    tree = ["bpftool", "-j", "cgroup", "tree", str(cgroups.lab_cgroup(lab.paths.lab_id))]
    programs |= set(_ids(_json(_output(tree))))
    found |= {("prog", id_) for id_ in programs}
    return found | {("map", id_) for program in programs for id_ in maps_of.get(program, [])}


def _in_fdinfo(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        kind = name.removesuffix("_id")
        if kind in _GET_NEXT_ID and name.endswith("_id"):
            yield kind, int(value)


def _ids(tree: Any) -> Iterator[int]:
    """Every ``id`` and ``prog_id`` of bpftool's nested JSON."""
    if isinstance(tree, list):
        for each in tree:
            yield from _ids(each)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if name in ("id", "prog_id") and isinstance(value, int):
                yield value
            else:
                yield from _ids(value)


class _NextId(ctypes.Structure):
    """What bpf(2) takes for ``BPF_*_GET_NEXT_ID``."""

    _fields_ = (
        ("start_id", ctypes.c_uint32),
        ("next_id", ctypes.c_uint32),
        ("open_flags", ctypes.c_uint32),
    )


def _bpf_of_the_machine() -> set[tuple[str, int]]:
    """Everything that there is now, by the kernel's own list.

    Not by ``bpftool``, which opens each: a map of tail calls (``prog_array``) that is opened while
    the kernel clears it, because its last user has ended, is never freed.
    """
    found = set()
    for kind, command in _GET_NEXT_ID.items():
        ask = _NextId()
        while _LIBC.syscall(_BPF_SYSCALL, command, ctypes.byref(ask), ctypes.sizeof(ask)) == 0:
            found.add((kind, ask.next_id))
            ask.start_id = ask.next_id
    return found


def bpf_counts() -> tuple[int, ...]:
    """How many programs, maps and links the machine has."""
    kinds = [kind for kind, _ in _bpf_of_the_machine()]
    return tuple(kinds.count(kind) for kind in _GET_NEXT_ID)


def count_namespaces() -> int:
    """How many namespaces the machine's processes are in."""
    return len({each for pid in _all_pids() for each in _namespaces_of(pid)})


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _json(text: str) -> Any:
    return json.loads(text) if text.strip() else []
