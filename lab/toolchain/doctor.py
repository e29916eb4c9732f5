"""Whether this machine can run the lab, by its kernel, its rights and its Debian packages.

One message names everything that is missing.
"""

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import ToolchainError
from lab.kernel import kernel_options
from lab.toolchain import process

_APT_PATIENCE_SECONDS = 300.0
_APT_PAUSE_SECONDS = 2.0
_OLDEST_KERNEL = (5, 10)
MACHINES = ("x86_64", "aarch64")
KERNEL_OPTIONS = (
    "BPF_SYSCALL",
    "BPF_JIT",
    "CGROUP_BPF",
    "NET_CLS_BPF",
    "NET_SCH_INGRESS",
    "NET_NS",
    "PID_NS",
    "VETH",
    "VXLAN",
    "BRIDGE",
)
REMAINING = (
    "The lab runs on Linux as root only. The targets that remain here: `eks` (EKS itself) and "
    "`kubeconfig` (a cluster that you have); set `target` in the stack's file."
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about the machine."""

    system: str = "Linux"
    machine: str = "x86_64"
    kernel: str = "6.1.0"
    root: bool = True
    filesystems: frozenset[str] = frozenset({"cgroup2", "bpf", "tmpfs"})
    kernel_options: dict[str, str] | None = None
    """What ``/proc/config.gz`` or ``/boot/config-*`` says, where either can be read."""
    probes: dict[str, str] = field(default_factory=dict)
    """What failed when it was tried, and how."""


def missing(facts: Facts) -> list[str]:
    """Everything that keeps the lab from running here, as sentences; empty when it can."""
    if facts.system != "Linux":
        return [f"Linux is needed, this is {facts.system}"]
    problems: list[str] = []
    if facts.machine not in MACHINES:
        problems.append(f"one of {', '.join(MACHINES)} is needed, this is {facts.machine}")
    if tuple(map(int, re.findall(r"\d+", facts.kernel)[:2])) < _OLDEST_KERNEL:
        problems.append(f"kernel 5.10 or newer is needed, this is {facts.kernel}")
    if not facts.root:
        problems.append("root is needed (network namespaces, BPF); run it as root")
    problems += [
        f"the kernel has no {name} file system"
        for name in ("cgroup2", "bpf")
        if name not in facts.filesystems
    ]
    if facts.kernel_options is not None:
        problems += [
            f"the kernel is built without CONFIG_{name}"
            for name in KERNEL_OPTIONS
            if facts.kernel_options.get(name) not in ("y", "m")
        ]
    problems += [f"{what}: {why}" for what, why in facts.probes.items()]
    return problems


def message(problems: Sequence[str]) -> str:
    """The one message about a machine that cannot run the lab."""
    listed = [f"  - {problem}" for problem in problems]
    return "\n".join(["this machine cannot run the lab:", *listed, REMAINING])


def gather() -> Facts:
    """Look at this machine; what needs root or a tool is tried only where both are there."""
    system = platform.system()
    if system != "Linux":
        return Facts(system=system, machine=platform.machine(), root=False)
    root = os.geteuid() == 0
    return Facts(
        system=system,
        machine=platform.machine(),
        kernel=platform.release(),
        root=root,
        filesystems=_filesystems(),
        kernel_options=kernel_options(),
        probes=_probe() if root else {},
    )


def _filesystems() -> frozenset[str]:
    try:
        lines = Path("/proc/filesystems").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(line.split()[-1] for line in lines if line.strip())


_PROBES: tuple[tuple[str, str, str], ...] = (
    ("veth links", "ip", "ip link add cnib0 type veth peer name cnib1"),
    (
        "vxlan links",
        "ip",
        "ip link add cnib2 type vxlan id 7 dstport 8472 local 127.0.0.1",
    ),
    ("bridges", "ip", "ip link add cnib3 type bridge"),
    (
        "iptables",
        "iptables",
        "iptables -w -t nat -A POSTROUTING -m comment --comment x -j ACCEPT",
    ),
    ("bpf file system", "mount", "mount -t bpf bpf /mnt"),
    ("cgroup v2", "mount", "mount -t cgroup2 none /mnt"),
)


def _probe() -> dict[str, str]:
    """Try what the lab does, inside namespaces that end with the try."""
    base = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None:
        return {}  # util-linux is a package that the set-up installs
    failed = _fails([*base, "true"])
    if failed is not None:
        return {"network, mount and process namespaces": failed}
    failures: dict[str, str] = {}
    for what, tool, command in _PROBES:
        if shutil.which(tool) is None:
            continue
        failed = _fails([*base, *command.split()])
        if failed is not None:
            failures[what] = failed
    return failures


def _fails(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


# -- Debian packages -------------------------------------------------------------------------------


def missing_packages(names: Iterable[str]) -> list[str]:
    """The packages that dpkg does not have installed."""
    wanted = list(names)
    if not wanted:
        return []
    query = subprocess.run(
        [
            "dpkg-query",
            "--show",
            "--showformat=${db:Status-Status} ${Package}\n",
            *wanted,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    there = {
        line.split(" ", 1)[1] for line in query.stdout.splitlines() if line.startswith("installed ")
    }
    return [name for name in wanted if name not in there]


def install_command(names: Iterable[str]) -> str:
    return "apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends " + " ".join(
        names
    )


def is_debian() -> bool:
    return shutil.which("dpkg-query") is not None and shutil.which("apt-get") is not None


def install_packages(names: Collection[str]) -> None:
    """Install packages; without the right to do so, tell the command."""
    if not names:
        return
    if os.geteuid() != 0:
        raise ToolchainError(
            f"Debian packages are missing; as root: apt-get update && {install_command(names)}"
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _update(env, time.monotonic() + _APT_PATIENCE_SECONDS)
    what = f"installing {', '.join(names)}"
    process.run(install_command(names).split(), what=what, env=env, outlives=True)


def _update(env: Mapping[str, str], deadline: float) -> None:
    """``apt-get update``, once whoever has its lock is done: a fresh machine updates itself, and
    the option that has apt-get wait for dpkg's lock is not one of this command's."""
    while True:
        try:
            process.run(["apt-get", "update", "-qq"], what="apt-get update", env=env)
        except ToolchainError as error:
            if "Could not get lock" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_APT_PAUSE_SECONDS)
        else:
            return
