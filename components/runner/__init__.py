"""A benchmark that runs in a pod of the cluster: near its API server, however far its user is."""

from bench.session import SessionError


class UnfinishedError(SessionError):
    """The pod has died, or its user has given up: its samples so far are kept."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}. Its samples so far are kept. Fix: pulumi up, which goes on")
