"""Plays hypervisor and router of the VPC: makes the network what the EC2 API says it is.

Run inside the sandbox: ``python -m lab.cloud.reconciler ENDPOINT REGION INSTANCES INTERFACES``.
INSTANCES is a file with the nodes' instances, INTERFACES the one that it leaves for the metadata
service. It keeps nothing in mind: each round compares what EC2 describes with what the kernel has,
so it can be ended and started again at any moment.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lab.cloud import api, hypervisor, router
from lab.cloud.interfaces import INTERFACES, attached, describe
from lab.cloud.vpc import INSTANCES

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

#: Without a ring of the doorbell, everything is looked at this often, in seconds.
_ROUND = 60.0
_RETRY = 1.0


def reconcile(ec2: EC2Client, nodes: Mapping[str, str], told: Path) -> list[str]:
    """One round; the commands that were needed.

    :param nodes: node names by instance id.
    :param told: gets the interfaces as JSON once they carry packets.
    :raises subprocess.CalledProcessError: the kernel refuses a command.
    """
    interfaces = attached(describe(ec2), nodes)
    links = hypervisor.found(_show("link", "show", "type", "veth"), list(nodes.values()))
    plugging = hypervisor.plan(interfaces, links)
    _run(plugging)
    routes = router.found(_show("-4", "route", "show"), {each.port for each in interfaces})
    routing = router.plan(interfaces, routes)
    _run(routing)
    draft = told.with_suffix(".new")
    draft.write_bytes(INTERFACES.dump_json(interfaces))
    draft.replace(told)
    return [*plugging, *routing]


def _show(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=True)
    shown: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return shown


def _run(commands: list[str]) -> None:
    if commands:
        text = "".join(f"{line}\n" for line in commands)
        subprocess.run(
            ["ip", "-batch", "-"], input=text, capture_output=True, text=True, check=True
        )


def main() -> None:
    endpoint, region, instances, told = sys.argv[1:]
    nodes = {each.id: each.node for each in INSTANCES.validate_json(Path(instances).read_bytes())}
    ec2 = api.connect(endpoint, region, api.RECONCILER)
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.bind(api.DOORBELL)
    while True:
        wait = _ROUND
        try:
            for line in reconcile(ec2, nodes, Path(told)):
                print(line, flush=True)
        except (BotoCoreError, ClientError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or ""
            print(f"tried again in {_RETRY:.0f} s: {error} {said}", flush=True)
            wait = _RETRY
        _wait(bell, wait)


def _wait(bell: socket.socket, seconds: float) -> None:
    """Until somebody rings, or some seconds have passed; rings that have piled up count as one."""
    bell.settimeout(seconds)
    deadline = time.monotonic() + seconds
    try:
        bell.recv(1)
        bell.setblocking(False)
        while time.monotonic() < deadline:
            bell.recv(1)
    except (TimeoutError, BlockingIOError):
        pass


if __name__ == "__main__":
    main()
