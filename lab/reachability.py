"""Services that answer: awaited from a pod of every node before anything is measured.

A node's kube-proxy or agent programs a Service some time after the API server has it; kube-proxy
waits for up to a second to take several changes at once (``--iptables-min-sync-period``).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from lab import wait
from lab.objects import PodSpec

#: The words that run a command in a pod for at most so many seconds (``Lab.pod_command``).
PodCommand = Callable[[str, str, Sequence[str], float], list[str]]

_TIMEOUT_SECONDS = 30
_TRY_SECONDS = 1


def await_services(
    pod_command: PodCommand, pods: Iterable[PodSpec], services: Iterable[tuple[str, str, int]]
) -> None:
    """Wait until every Service takes TCP connections from a pod of each node.

    :param services: name, ClusterIP and port of each.
    :raises WaitTimeoutError: naming the Service, the node and what connecting said at last.
    """
    clients = {pod.node: pod for pod in pods}.values()

    def answers(pair: tuple[PodSpec, tuple[str, str, int]]) -> None:
        pod, (name, ip, port) = pair
        argv = ["bash", "-c", f"</dev/tcp/{ip}/{port}"]

        def refusal() -> str | None:
            words = pod_command(pod.name, pod.node, argv, _TRY_SECONDS)
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return None
            return done.stderr.strip() or f"no answer within {_TRY_SECONDS} s"

        what = f"the Service {name} ({ip}:{port}) to answer on {pod.node}"
        wait.until(what, refusal, timeout=_TIMEOUT_SECONDS)

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(answers, product(clients, list(services))))
