"""A lab from its parts: the one entry point for whoever brings a lab up, uses it or removes it.

Bringing up goes in three steps: :meth:`Lab.start` (control plane and nodes), :meth:`Lab.install`
(kube-proxy and CNI), :meth:`Lab.deploy` (pods and services). After each of them the lab can be
recognised and removed.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from kube.objects import POD, SERVICE
from lab import cgroups, congestion, controlplane, kernel, machine, network, placement, workloads
from lab.cloud.cloud import Cloud, CloudSpec
from lab.controlplane import KUBE_PROXY, KubeProxy
from lab.dataplane import dataplane
from lab.dataplane.interface import LabDataplane, LabParts, Progress
from lab.errors import LabError
from lab.network import Node, NodeAddress
from lab.sandbox import LabPaths, Place, Sandbox, refuse_hidden
from lab.timeline import Timeline
from lab.toolchain.build import Toolchain
from lab.toolchain.cache import CHECKOUT
from lab.wait import until
from lab.workloads import COREDNS, Pods, PodSpec, ServiceSpec, await_services

if TYPE_CHECKING:
    from kube.client import Kube


@dataclass(frozen=True, slots=True)
class LabSpec:
    """What a lab is made of.

    :param nodes: number of nodes, at least 2 so that client and server can be apart.
    :param service_cidr: the Service range, e.g. ``10.100.0.0/16``.
    :param node_labels: labels that every Node object carries.
    :param kubernetes: its version, one of the toolchain's.
    :param kube_proxy: ``iptables``, ``nftables`` or ``none``.
    :param cni: the CNI's name, one of :data:`lab.dataplane.DATAPLANES`.
    :param cni_version: its version, one of the toolchain's.
    :param values: what the CNI's installer takes: Cilium's Helm values, or the environment
        variables of the VPC CNI's daemon, as the EKS add-on's configuration has them.
    :param cloud: the part of AWS that the nodes are in; None where pods have routed subnets.
    :param congestion_control: TCP's, in nodes and pods.
    :param own_cpus: each node has CPUs of its own, where there are enough.
    :param authorization: the API server's mode: everybody may do everything, or as roles say
        (``RBAC``), which takes longer to start.
    """

    nodes: int
    service_cidr: str
    node_labels: Mapping[str, str]
    kubernetes: str
    kube_proxy: str
    cni: str
    cni_version: str
    values: Mapping[str, Any]
    cloud: CloudSpec | None = None
    congestion_control: str = congestion.DEFAULT
    own_cpus: bool = True
    authorization: str = "AlwaysAllow"


#: A lab's specification as JSON.
SPEC = TypeAdapter(LabSpec)


_CPUS = TypeAdapter(dict[str, tuple[int, ...]])


class PodAddress(NamedTuple):
    """Where a pod runs and what its address is."""

    name: str
    node: str
    ip: str


F = TypeVar("F", bound=Callable[..., Any])


def _beside_no_measurement(work: str) -> Callable[[F], F]:
    """Have what a lab does wait for whoever else measures on this machine."""

    def waiting(method: F) -> F:
        @wraps(method)
        def held(lab: Lab, *args: Any, **named: Any) -> Any:
            with machine.working(f"{work} the lab {lab.paths.lab_id}"):
                return method(lab, *args, **named)

        return cast(F, held)

    return waiting


class Lab:
    """One lab, running or not; found again by its id from any process on this machine."""

    def __init__(self, lab_id: str, toolchain: Toolchain | None = None) -> None:
        self.paths = LabPaths.of(lab_id)
        self.sandbox = Sandbox(self.paths)
        self.toolchain = toolchain or Toolchain.default()
        self._spec_file = self.paths.root / "lab.json"
        self._boot_file = self.paths.root / "boot"
        self._unfinished_file = self.paths.root / "unfinished"
        self._cpus_file = self.paths.root / "cpus.json"
        self.timeline = Timeline(self.paths.timeline, cgroups.lab_cgroup(lab_id))

    # -- bringing up --------------------------------------------------------------------------

    @_beside_no_measurement("bringing up")
    def start(self, spec: LabSpec, progress: Progress) -> str:
        """Start the sandbox, its fabric and nodes, etcd and the API server.

        :returns: the boot id: another word for every start of this lab.
        :raises LabError: a part of it does not come up.
        """
        self.remove()
        places = (self.paths.root, self.toolchain.builder.cache.root, CHECKOUT)
        refuse_hidden(places)
        addresses = network.node_addresses(spec.nodes)
        self.paths.make()
        with self.timeline.step("sandbox and nodes"):
            self.sandbox.start()
            boot_id = secrets.token_hex(4)
            self._boot_file.write_text(boot_id)
            self._spec_file.write_bytes(SPEC.dump_json(spec))
            network.make_fabric(self.sandbox)
            controlplane.launch(
                *(self.sandbox, self.toolchain, spec.kubernetes),
                *(spec.service_cidr, spec.authorization),
            )
            if self.cloud:
                self.cloud.start_api()
            for address in addresses:
                network.start_node(self.sandbox, address, spec.congestion_control)
        progress(f"{spec.nodes} nodes in the VPC; starting etcd and kube-apiserver")
        with self.timeline.step("control plane"):
            controlplane.await_ready(self.sandbox)
        with self.timeline.step("VPC and Node objects"), ThreadPoolExecutor(1) as pool:
            prepared = pool.submit(self.dataplane.prepare, self.api)
            self._register(spec, addresses)
            prepared.result()
        progress("the API server is ready")
        return boot_id

    def _register(self, spec: LabSpec, addresses: Sequence[NodeAddress]) -> None:
        """Make the nodes' instances, where there is a cloud, and their objects."""
        instances = self.cloud.create(addresses) if self.cloud else []
        provider_ids = {each.node: each.provider_id for each in instances}
        max_pods = spec.cloud.max_pods if spec.cloud else None
        for each in addresses:
            workloads.register_node(
                self.api, each, spec.node_labels, provider_ids.get(each.name), max_pods
            )

    @_beside_no_measurement("bringing up")
    def install(self, progress: Progress) -> None:
        """Start kube-proxy and the CNI and wait until both report that they are ready.

        :raises LabError: one of them ends or is not ready in time, or Helm refuses the values.
        """
        if self.kube_proxy is not None:
            for each in self.nodes:
                self.kube_proxy.start(each)
        with self.timeline.step("configuration"):
            self.dataplane.configure(progress)
            if self.cloud:
                self.cloud.wait_ready()
        with self.timeline.step("agents"):
            self.dataplane.start(self.api, self.nodes)
            self.dataplane.wait_ready(self.nodes)
        if self.kube_proxy is not None:
            with self.timeline.step("kube-proxy's rules"):
                for each in self.nodes:
                    self.kube_proxy.wait_ready(each)
        progress("the CNI is ready on every node")

    @_beside_no_measurement("bringing up")
    def deploy(
        self, pods: Sequence[PodSpec], services_: Sequence[ServiceSpec], progress: Progress
    ) -> dict[str, str]:
        """Run pods and publish services, CoreDNS among them.

        :returns: the pods' IPv4 addresses by name.
        :raises LabError: a pod gets no address, no pod is behind a Service, or a Service does not
            answer in time.
        """
        self._share_cpus()
        dns_address = str(ipaddress.IPv4Network(self.spec.service_cidr)[10])
        all_pods = [workloads.dns_pod(self.sandbox, self.dns_node), *pods]
        all_services = [workloads.dns_service(dns_address), *services_]
        by_name = {each.name: each for each in self.nodes}
        with self.timeline.step("pods"), ThreadPoolExecutor(max_workers=4) as pool:
            ips = dict(
                zip(
                    (pod.name for pod in all_pods),
                    pool.map(lambda pod: self.pods.create(pod, by_name[pod.node]), all_pods),
                    strict=True,
                )
            )
        progress(f"{len(all_pods)} pods wired by the CNI plugin")
        served: list[tuple[str, str, int]] = []
        with self.timeline.step("Services"):
            for service in all_services:
                endpoints = [(ips[p.name], p.node) for p in all_pods if p.app == service.app]
                if not endpoints:
                    raise LabError(f"no pod is behind the service {service.name}")
                cluster_ip = workloads.create_service(self.api, service, endpoints)
                tcp = (port.port for port in service.ports if port.protocol == "TCP")
                served += [(service.name, cluster_ip, port) for port in tcp]
            await_services(self.pod_command, all_pods, served)
        progress(f"{len(all_services)} Services answer on every node")
        # Not before: agents that share their node's CPUs from the start take longer to be ready.
        for each in self.nodes:
            if each.cpus:
                placement.pin(each.cgroup, each.cpus)
        return ips

    def _share_cpus(self) -> None:
        """Share the CPUs out among the nodes, for all that is started from now on."""
        names = [node.name for node in self.nodes]
        cpus = placement.machine_cpus() if self.spec.own_cpus else ()
        shares = placement.shares(cpus, names)
        self._cpus_file.write_text(json.dumps(shares))
        del self.nodes  # they are cached, without CPUs

    # -- removing -----------------------------------------------------------------------------

    @_beside_no_measurement("taking down")
    def stop(self) -> None:
        """End the lab's processes; its files stay for a look at the logs."""
        self.sandbox.stop()
        congestion.ALLOWED.restore()

    @_beside_no_measurement("taking down")
    def remove(self) -> None:
        """End the lab's processes and remove its files; does nothing where there are none."""
        self.stop()
        shutil.rmtree(self.paths.root, ignore_errors=True)

    # -- what is there ------------------------------------------------------------------------

    def boot_id(self) -> str | None:
        """The boot id of the running lab, as :meth:`start` returned it.

        None when no lab runs, or when a step was interrupted: going on there would run agents
        twice.
        """
        whole = self.sandbox.alive() and not self._unfinished_file.exists()
        return self._boot_file.read_text() if whole else None

    @contextmanager
    def once(self, name: str) -> Iterator[None]:
        """Around a step that must be done once, and to its end.

        :raises LabError: the step has been done before.
        """
        done = self.paths.root / f"{name}.done"
        if done.exists():
            raise LabError(
                "an interrupted pulumi up has done it before. Fix: pulumi up, which starts anew"
            )
        self._unfinished_file.write_text(name)
        yield
        done.touch()
        self._unfinished_file.unlink()

    @cached_property
    def spec(self) -> LabSpec:
        """What :meth:`start` was asked for.

        :raises LabError: the lab is of a version of this program with another specification.
        """
        try:
            return SPEC.validate_json(self._spec_file.read_bytes())
        except ValidationError:
            raise LabError(
                f"the lab {self.paths.lab_id} is of another version of this program. "
                "Fix: pulumi up, which starts it anew"
            ) from None

    @cached_property
    def api(self) -> Kube:
        return controlplane.connect(self.sandbox)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        addresses = network.node_addresses(self.spec.nodes)
        return tuple(
            network.running_node(self.sandbox, address, self.cpus_of(address.name))
            for address in addresses
        )

    def cpus_of(self, node_name: str) -> tuple[int, ...]:
        """The CPUs that a node's processes run on; none stands for any."""
        return self.cpus.get(node_name, ())

    @property
    def cpus(self) -> dict[str, tuple[int, ...]]:
        """The CPUs of every node; nothing where all may use any, and before :meth:`deploy`."""
        if not self._cpus_file.exists():
            return {}
        return _CPUS.validate_json(self._cpus_file.read_bytes())

    @cached_property
    def pods(self) -> Pods:
        """What makes and removes pods, once the CNI is installed."""
        plugins = self.dataplane.plugins(self.nodes)
        control = self.spec.congestion_control
        return Pods(self.sandbox, self.toolchain, self.api, plugins, control)

    @cached_property
    def cloud(self) -> Cloud | None:
        return Cloud(self.sandbox, self.spec.cloud) if self.spec.cloud else None

    @cached_property
    def dataplane(self) -> LabDataplane:
        return dataplane(self.spec.cni, self._parts)

    @property
    def _parts(self) -> LabParts:
        spec = self.spec
        return LabParts(
            self.sandbox,
            self.toolchain,
            spec.kubernetes,
            spec.cni_version,
            spec.values,
            self.cloud,
        )

    def _dataplane_of(self, version: str) -> LabDataplane:
        """The CNI of another version, configured by the same values beside the lab's own.

        :raises LabError: its installer refuses them.
        """
        made = dataplane(self.spec.cni, replace(self._parts, version=version, apart=f"-{version}"))
        made.configure(lambda line: None)
        return made

    @cached_property
    def kube_proxy(self) -> KubeProxy | None:
        """The lab's kube-proxies; None where the CNI does their work."""
        spec = self.spec
        if spec.kube_proxy == "none":
            return None
        program = self.toolchain.program(KUBE_PROXY, spec.kubernetes)
        return KubeProxy(self.sandbox, program, spec.kube_proxy)

    def adaptations(self) -> tuple[str, ...]:
        """How this lab differs from a real cluster, for everyone who reads its results."""
        played = self.cloud.adaptations if self.cloud else ()
        return (
            *controlplane.ADAPTATIONS,
            *played,
            *self.dataplane.adaptations,
            *congestion.adaptations(self.spec.congestion_control, self._congestion_control()),
            placement.told(self.cpus, asked=self.spec.own_cpus),
        )

    def _congestion_control(self) -> str:
        return congestion.of(self.sandbox.netns_path(self.nodes[0].name))

    def pod_command(self, pod: str, node_name: str, argv: Sequence[str], limit: float) -> list[str]:
        """The command line that runs a command in a pod, from the host.

        :param limit: seconds after which the command is killed.
        :raises LabError: there is no such pod.
        """
        if not self.sandbox.netns_path(pod).exists():
            raise LabError(f"the lab {self.paths.lab_id} has no pod {pod}")
        cgroup = cgroups.lab_cgroup(self.paths.lab_id) / node_name
        place = Place(netns=pod, cgroup=cgroup, cpus=self.cpus_of(node_name))
        return [*self.sandbox.enter(place, limit), self._program(argv[0]), *argv[1:]]

    def node_words(self, node_name: str, argv: Sequence[str], limit: float) -> list[str]:
        """The command line that runs a command in a node's own namespaces, from the host.

        :param limit: seconds after which the command is killed.
        :raises LabError: there is no such node.
        """
        host = self._node(node_name).host
        return [*self.sandbox.enter(host, limit), self._program(argv[0]), *argv[1:]]

    def node_command(self, on: Node, argv: Sequence[str]) -> str:
        """The standard output of a command in a node's own namespaces.

        :raises CommandError: it fails.
        """
        words = [self._program(argv[0]), *argv[1:]]
        return self.sandbox.run(words, on.host).stdout

    def _program(self, name: str) -> str:
        """The path of a program, of the lab's CNI in its version."""
        return self.toolchain.command(name, self.spec.cni_version)

    def pods_of(self, app: str) -> list[PodAddress]:
        """The pods with this ``app`` label, as the API server reports them."""
        pods = self.api.items(POD, labels=f"app={app}")
        return [
            PodAddress(each["metadata"]["name"], each["spec"]["nodeName"], each["status"]["podIP"])
            for each in pods
        ]

    def service_address(self, namespace: str, name: str) -> tuple[str, int]:
        """ClusterIP and first port of a Service.

        :raises kube.objects.ApiError: there is no such Service.
        """
        spec = self.api.get(SERVICE, name, namespace)["spec"]
        return str(spec["clusterIP"]), int(spec["ports"][0]["port"])

    def kube_proxy_mode(self) -> str:
        """The mode that the running kube-proxies report, or ``none``."""
        if self.kube_proxy is None:
            return "none"
        return ", ".join(sorted({self.kube_proxy.mode(node) for node in self.nodes}))

    def kube_proxy_metrics(self) -> Mapping[str, str]:
        """What each kube-proxy counts of itself, by node, in Prometheus's text format.

        :raises LabError: one of them answers with an error.
        """
        proxies = self.kube_proxy
        return {node.name: proxies.metrics(node) for node in self.nodes} if proxies else {}

    def end(self, component: str, node_name: str, *, kill: bool = False) -> None:
        """End a component on a node, and wait until it is gone: kube-proxy, the CNI's agent, or its
        operator, wherever that runs; what keeps that running starts it again a second later.

        :param kill: by SIGKILL, not as a kubelet asks it to end.
        :raises LabError: it is not there, or does not end.
        """
        if component == self.dataplane.operator:
            self.sandbox.end(component, kill=kill)
            return
        self._refuse_unknown(component, node_name)
        self.sandbox.end(f"{node_name}-{component}", kill=kill)

    def start_again(self, component: str, node_name: str, version: str | None = None) -> None:
        """Start a component that :meth:`end` has ended, and wait until it says that it is ready.

        :param version: of the CNI's agent, where it is to be another than the lab's own.
        :raises LabError: it is not there, or is not ready in time.
        """
        if component == self.dataplane.operator:
            # Since it was started on the last node, and by what keeps it running.
            node = self.nodes[-1]
            what = f"{component} to be ready again"
            until(what, lambda: self.dataplane.operator_not_ready(node), timeout=60, interval=0.02)
            return
        self._refuse_unknown(component, node_name)
        node = self._node(node_name)
        if component == self.dataplane.agent:
            of_version = self.dataplane if version is None else self._dataplane_of(version)
            of_version.start_agent(node)
            of_version.wait_ready([node])
        elif self.kube_proxy is not None:
            self.kube_proxy.start(node)
            self.kube_proxy.wait_ready(node)

    def _refuse_unknown(self, component: str, node_name: str) -> None:
        known = [self.dataplane.agent, *([KUBE_PROXY] if self.kube_proxy else ())]
        if component not in known:
            raise LabError(f"the lab cannot restart {component} on {node_name}")

    def replace_dns(self, by: str, grace: float) -> None:
        """Have another pod take CoreDNS's place, as its Deployment does: that is ready before the
        Service leads to it, and the old one answers for some time after.

        :param by: the name of the new pod; ``COREDNS`` is that of :meth:`deploy`.
        :param grace: seconds for which the old one still answers.
        :raises LabError: the new one is not ready in time.
        """
        node = self._node(self.dns_node)
        spec = workloads.dns_pod(self.sandbox, node.name)
        old = [replace(spec, name=each.name) for each in self.pods_of(COREDNS)]
        ip = self.pods.create(replace(spec, name=by), node)
        until(
            f"{by} to be ready",
            lambda: self.sandbox.unhealthy(by, workloads.DNS_READY),
            timeout=30,
            interval=0.02,
        )
        workloads.lead_to(self.api, workloads.dns_service(""), [(ip, node.name)])
        time.sleep(grace)
        for each in old:
            self.pods.remove(each, node)

    @property
    def dns_node(self) -> str:
        """The node of CoreDNS: where the clients are not."""
        return self.nodes[-1].name

    def _node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"the lab {self.paths.lab_id} has no node {name}")

    def versions(self) -> dict[str, str]:
        """Versions of the programs that this lab runs, by program, without a leading v."""
        known = self.toolchain.versions()
        used = ("etcd", "coredns", "fortio", "go-httpbin")
        kubernetes = ("kube-apiserver", *((KUBE_PROXY,) if self.kube_proxy else ()))
        versions = {name: known[name] for name in used}
        versions |= dict.fromkeys(kubernetes, self.spec.kubernetes)
        versions |= dict.fromkeys(self.dataplane.programs, self.spec.cni_version)
        return dict(sorted(versions.items()))

    def cni_usage(self) -> list[tuple[str, str, cgroups.Usage]]:
        """CPU time and memory of every CNI component: (node, component, usage).

        :raises LabError: the lab, or one of its components, has ended.
        """
        top = cgroups.lab_cgroup(self.paths.lab_id)
        _ = self.sandbox.init_pid  # an ended lab has used something, not nothing
        return [
            (component.parent.parent.name, component.name, cgroups.usage(component))
            for component in sorted(top.glob(f"*/{cgroups.AGENTS}/*/"))
        ]

    def eni_reports(self) -> dict[str, Any]:
        """What the CNI reports of each node's ENIs, by node, in its own format.

        Empty where nodes are in no VPC.

        :raises LabError: a node's CNI answers with an error.
        :raises OSError: it does not answer.
        """
        if self.cloud is None:
            return {}
        return {node.name: self.dataplane.eni_report(self.api, node) for node in self.nodes}

    def facts(self) -> dict[str, Any]:
        """What a result's reader must know of the machine: kernel, CPUs, MTUs in bytes."""
        a_node = self.nodes[0].name
        return {
            "kernel": kernel.release(),
            "cpus": kernel.cpus(),
            "node_mtu": network.mtu(self.sandbox, a_node, network.device_name(0)),
            "pod_mtu": network.mtu(self.sandbox, COREDNS, "eth0"),
            "congestion_control": self._congestion_control(),
            "placement_of_cpus": self.cpus,
        }
