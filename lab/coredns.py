"""The cluster's DNS: CoreDNS as a pod, with EKS's Corefile less what needs the outside."""

from __future__ import annotations

from lab.objects import PodSpec, ServicePort, ServiceSpec
from lab.sandbox import Sandbox

NAME = "coredns"
DOMAIN = "cluster.local"
NAMESPACE = "kube-system"

#: EKS's default Corefile, but for `forward` (there is no outside) and for the kubeconfig.
_COREFILE = """
.:53 {{
    errors
    health
    ready
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig} lab
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
}}
"""


def pod(sandbox: Sandbox, node: str) -> PodSpec:
    """CoreDNS's pod on a node; writes its Corefile."""
    corefile = sandbox.paths.config / "Corefile"
    corefile.write_text(_COREFILE.format(domain=DOMAIN, kubeconfig=sandbox.paths.kubeconfig))
    argv = ("coredns", "-conf", str(corefile))
    return PodSpec(name=NAME, app=NAME, node=node, argv=argv, namespace=NAMESPACE)


def service(cluster_ip: str) -> ServiceSpec:
    """The Service ``kube-dns``; EKS gives it the tenth address of the service range."""
    ports = (ServicePort("dns", 53, 53, "UDP"), ServicePort("dns-tcp", 53, 53, "TCP"))
    return ServiceSpec("kube-dns", NAME, ports, namespace=NAMESPACE, cluster_ip=cluster_ip)
