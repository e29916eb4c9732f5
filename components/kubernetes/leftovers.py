"""Ending commands that outlived their connection.

A container runtime does not end a command whose client is gone, and the image of the load generator
holds nothing but the load generator, no shell to wrap it in. So its pods have a second container
with tools, that shares their process namespace and user: there the command is looked up by its
exact arguments and killed, with all that it has started, since a runtime puts it at the head of a
session (runc, ``nsexec.c``). What has not been ended is remembered, and no further command starts
before it has: it would be measured with that one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from components.kubernetes.names import TOOLS
from kube import exec as pod_exec
from kube.client import Kube
from kube.errors import KubernetesError
from kube.exec import Container
from kube.objects import POD

_SECONDS = 20.0

# Ends with 0 once no process has these arguments any more. A zombie has none.
_SCRIPT = """wanted=$(printf '%s\\n' "$@")
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  found=
  for process in /proc/[0-9]*; do
    if [ "$(tr '\\0' '\\n' <"$process/cmdline" 2>/dev/null)" = "$wanted" ]; then
      found=yes
      kill -KILL "-${process#/proc/}" || kill -KILL "${process#/proc/}"
    fi
  done
  [ -z "$found" ] && exit 0
  sleep 0.5
done
exit 1
"""


def kill_command(argv: Sequence[str]) -> tuple[str, ...]:
    """The command that ends every process with exactly these arguments."""
    return ("sh", "-c", _SCRIPT, "sh", *argv)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A command that may still run in a pod."""

    namespace: str
    pod: str
    argv: tuple[str, ...]


class Leftovers:
    """Those of one session; threads may share it."""

    def __init__(self, api: Kube) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._left: list[Leftover] = []

    def add(self, leftover: Leftover) -> None:
        """Remember one."""
        with self._lock:
            self._left.append(leftover)

    def end_all(self) -> None:
        """End all that are remembered; those that were ended are forgotten.

        :raises KubernetesError: one could not be ended.
        """
        with self._lock:
            while self._left:
                self._end(self._left[0])
                del self._left[0]

    def _end(self, leftover: Leftover) -> None:
        shown = f"`{' '.join(leftover.argv)}` in {leftover.pod}"
        try:
            tools = self._tools(leftover)
            if tools is None:
                return
            command = kill_command(leftover.argv)
            done = pod_exec.run(self._api, tools, command, timeout=_SECONDS)
        except KubernetesError as error:
            raise KubernetesError(f"{shown} may still run: {error}") from None
        if done.returncode != 0:
            raise KubernetesError(f"{shown} still runs: {done.stderr.strip()[-200:]}")

    def _tools(self, leftover: Leftover) -> Container | None:
        """Where the command can be ended from; None once its pod has ended."""
        pod = self._api.find(POD, leftover.pod, leftover.namespace)
        if pod is None or pod["status"].get("phase") in ("Succeeded", "Failed"):
            return None
        names = [container["name"] for container in pod["spec"]["containers"]]
        return Container(leftover.namespace, leftover.pod, TOOLS if TOOLS in names else names[0])
