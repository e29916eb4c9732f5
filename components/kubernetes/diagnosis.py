"""Why a component does not come up: its pods' own words, for the end of an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kube.client import Kube
from kube.errors import ApiError
from kube.exec import Container
from kube.objects import EVENT, POD, Json, is_ready

_EVENTS = 5
_LOG_LINES = 8
_WIDTH = 300


def of_pods(api: Kube, namespace: str, selector: str) -> str:
    """States, last events and last log lines of the first pod that is not ready.

    :raises KubernetesError: the API server cannot be asked.
    """
    pods = api.items(POD, namespace, labels=selector)
    if not pods:
        return f"There is no pod with {selector} in {namespace}."
    pod = next((each for each in pods if not is_ready(each)), None)
    if pod is None:
        return ""
    name = pod["metadata"]["name"]
    where = pod["spec"].get("nodeName", "no node yet")
    lines = [f"Pod {name} on {where} is {pod['status'].get('phase')}:"]
    lines += _states(pod)
    lines += _events(api, namespace, name)
    for container in _failing(pod):
        lines += _log(api, Container(namespace, name, container))
    return "\n".join(line[:_WIDTH] for line in lines)


def _statuses(pod: Json) -> list[Json]:
    status = pod["status"]
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _states(pod: Json) -> Iterator[str]:
    for status in _statuses(pod):
        state = status.get("state", {})
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting:
            yield f"  {status['name']}: {waiting.get('reason')}: {waiting.get('message', '')}"
        elif ended and ended.get("exitCode"):
            yield f"  {status['name']}: ended with {ended['exitCode']}: {ended.get('reason')}"


def _failing(pod: Json) -> list[str]:
    """The first container that has begun and is not ready."""
    begun = [
        status["name"]
        for status in _statuses(pod)
        if not status.get("ready") and (status.get("started") or status.get("restartCount"))
    ]
    return begun[:1]


def _events(api: Kube, namespace: str, pod: str) -> Iterable[str]:
    events = api.items(EVENT, namespace, fields=f"involvedObject.name={pod}")
    events.sort(key=_when)
    return [f"  event {event['reason']}: {event['message']}" for event in events[-_EVENTS:]]


def _when(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _log(api: Kube, container: Container) -> list[str]:
    path = f"{api.path(POD, container.namespace, container.pod)}/log"
    try:
        text = api.read(path, [("container", container.name), ("tailLines", str(_LOG_LINES))])
    except ApiError:  # a container that has never begun has none
        return []
    return [f"  log of {container.name}:", *(f"    {line}" for line in text.splitlines())]
