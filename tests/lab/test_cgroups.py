"""Cgroups of labs: what their processes use, and that removing one lab's leaves the others'."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from lab import cgroups, wait
from lab.errors import LabError

NO_PROCESS = 4_194_305  # One more than the highest PID that Linux gives.


@pytest.fixture(autouse=True)
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the host's cgroup v2 hierarchy."""
    folder = tmp_path / "unified"
    folder.mkdir()
    monkeypatch.setattr(cgroups, "hierarchy", lambda: folder)
    return folder


def _fake(folder: Path, procs: str, usage_usec: int = 2_500_000) -> Path:
    (folder / "cpu.stat").write_text(
        f"usage_usec {usage_usec}\nuser_usec 1500000\nsystem_usec 1000000\n"
    )
    (folder / "cgroup.procs").write_text(procs)
    return folder


def test_cpu_time_is_the_cgroups_and_memory_its_processes(tmp_path: Path) -> None:
    used = cgroups.usage(_fake(tmp_path, f"{os.getpid()}\n"))
    assert used.cpu_seconds == 2.5
    assert used.memory_bytes % 1024 == 0
    assert 5 << 20 < used.memory_bytes < 5 << 30


def test_memory_is_the_sum_over_processes_and_one_that_just_ended_counts_nothing(
    tmp_path: Path,
) -> None:
    both = cgroups.usage(_fake(tmp_path, f"{os.getpid()}\n{os.getppid()}\n{NO_PROCESS}\n"))
    one = cgroups.usage(_fake(tmp_path, f"{os.getpid()}\n"))
    assert both.memory_bytes > one.memory_bytes


def test_microseconds_are_resolved(tmp_path: Path) -> None:
    assert cgroups.usage(_fake(tmp_path, f"{os.getpid()}\n", 7)).cpu_seconds == pytest.approx(7e-6)


def test_a_component_without_a_process_is_an_error_and_not_a_zero(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=f"no process runs in {tmp_path}"):
        cgroups.usage(_fake(tmp_path, ""))


def test_cgroups_are_frozen_by_what_the_kernel_says_of_each(hierarchy: Path) -> None:
    for name, frozen in (("node-1", 0), ("node-1/agents", 1), ("node-1/agents/agent", 1)):
        made = cgroups.create("lab-1", name)
        (made / "cgroup.events").write_text(f"populated 1\nfrozen {frozen}\n")
    agents = hierarchy / "cni-benchmark/lab-1/node-1/agents"
    assert cgroups.frozen("lab-1") == {agents, agents / "agent"}
    assert cgroups.frozen("lab-2") == set()


def test_a_process_is_in_its_cgroup_of_the_one_hierarchy(hierarchy: Path, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("9:memory:/user\n1:cpu:/\n0::/cni-benchmark/lab-1\n")
    assert cgroups.of_process(tmp_path) == hierarchy / "cni-benchmark/lab-1"


def test_a_labs_cgroups_are_below_one_branch(hierarchy: Path) -> None:
    made = cgroups.create("lab-1", "node-1/agents/kube-proxy")
    assert made == hierarchy / "cni-benchmark/lab-1/node-1/agents/kube-proxy"
    assert made.is_dir()
    assert cgroups.create("lab-1", "node-1/agents/kube-proxy") == made


def test_the_last_lab_takes_the_branch_with_it(hierarchy: Path) -> None:
    cgroups.create("lab-1", "node-1/agents/cilium-agent")
    cgroups.create("lab-2", "node-1")
    cgroups.remove("lab-1")
    assert not cgroups.lab_cgroup("lab-1").exists()
    assert (cgroups.lab_cgroup("lab-2") / "node-1").is_dir()
    cgroups.remove("lab-2")
    assert list(hierarchy.iterdir()) == []


def test_removing_what_is_not_there_does_nothing(hierarchy: Path) -> None:
    cgroups.remove("lab-1")
    assert list(hierarchy.iterdir()) == []


def test_the_rest_goes_where_another_removes_a_part_meanwhile(
    hierarchy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups.create("lab-1", "node-1/agents/kube-proxy")
    cgroups.create("lab-1", "node-2")
    rmdir = Path.rmdir

    def beaten(path: Path) -> None:
        monkeypatch.setattr(Path, "rmdir", rmdir)
        rmdir(path)
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", beaten)
    cgroups.remove("lab-1")
    assert list(hierarchy.iterdir()) == []


def test_a_cgroup_that_does_not_empty_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = cgroups.create("lab-1", "node-1")
    (busy / "process").touch()  # What the kernel says of a cgroup with processes, so to speak.

    def shortly(what: str, probe: wait.Probe, **_: object) -> None:
        wait.until(what, probe, timeout=0.02, interval=0.01)

    monkeypatch.setattr(cgroups, "until", partial(shortly))
    with pytest.raises(LabError, match=r"the cgroups of lab-1 to be empty; .*not empty"):
        cgroups.remove("lab-1")
    assert busy.exists()


def test_the_hierarchy_is_found_beside_version_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "proc /proc proc rw 0 0\n"
        "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )
    monkeypatch.setattr(cgroups, "Path", lambda text: mounts if "proc" in text else Path(text))
    assert cgroups.hierarchy() == Path("/sys/fs/cgroup/unified")
    mounts.write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(LabError, match="no cgroup v2 hierarchy is mounted: mount one"):
        cgroups.hierarchy()
