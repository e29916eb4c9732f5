"""Why a component does not come up: its pods' own words, for the end of an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from components.kubernetes.api import Api, Json
from components.kubernetes.errors import ApiError
from components.kubernetes.rollout import is_ready

_EVENTS = 5
_LOG_LINES = 8
_WIDTH = 300


def of_pods(api: Api, namespace: str, selector: str) -> str:
    """States, last events and last log lines of the first pod that is not ready.

    :raises KubernetesError: the API server cannot be asked.
    """
    path = f"/api/v1/namespaces/{namespace}/pods"
    pods = api.items(path, {"labelSelector": selector})
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
        lines += _log(api, f"{path}/{name}/log", container)
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


def _events(api: Api, namespace: str, pod: str) -> Iterable[str]:
    query = {"fieldSelector": f"involvedObject.name={pod}"}
    events = api.items(f"/api/v1/namespaces/{namespace}/events", query)
    events.sort(key=_when)
    return [f"  event {event['reason']}: {event['message']}" for event in events[-_EVENTS:]]


def _when(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _log(api: Api, path: str, container: str) -> list[str]:
    try:
        text = api.text(path, {"container": container, "tailLines": _LOG_LINES})
    except ApiError:  # a container that has never begun has none
        return []
    return [f"  log of {container}:", *(f"    {line}" for line in text.splitlines())]
