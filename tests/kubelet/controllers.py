"""Kubernetes's own controllers and scheduler, which a lab does without."""

from __future__ import annotations

from lab.cluster import Lab

_CONTROLLERS = (
    "daemonset-controller",
    "deployment-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
)


def start_controllers(lab: Lab) -> None:
    """Start the controllers in the lab's network; they end with it."""
    authority = f"--root-ca-file={lab.paths.pki / 'apiserver.crt'}"
    wanted = f"--controllers={','.join(_CONTROLLERS)}"
    _start(lab, "kube-controller-manager", wanted, authority)


def start_scheduler(lab: Lab) -> None:
    """Start the scheduler; see :func:`start_controllers`."""
    _start(lab, "kube-scheduler")


def _start(lab: Lab, name: str, *options: str) -> None:
    fixed = ["--bind-address=127.0.0.1", "--leader-elect=false"]
    program = str(lab.toolchain.program(name))
    lab.sandbox.spawn(name, [program, f"--kubeconfig={lab.paths.kubeconfig}", *fixed, *options])
