"""The VPC CNI's programs, by version (:mod:`cni.vpc_cni.versions`)."""

from __future__ import annotations

from cni.vpc_cni.versions import VERSIONS, VpcCniVersion
from lab.toolchain.programs.family import CniPrograms, Family, Program, Share, cni_need

_MODULE = "github.com/aws/amazon-vpc-cni-k8s"


def _family(entry: VpcCniVersion) -> Family:
    need = cni_need("vpc-cni", entry.version)
    return Family(
        name="aws-cni",
        version=entry.version,
        folder=entry.module,
        module=_MODULE,
        # The daemon's, and the plugin's: the daemon answers no plugin of another version.
        variables=(
            (f"{_MODULE}/pkg/version.Version", f"v{entry.version}"),
            ("main.version", f"v{entry.version}"),
        ),
        programs=(
            Program("aws-k8s-agent", f"{_MODULE}/cmd/aws-k8s-agent", need),
            Program("aws-cni", f"{_MODULE}/cmd/routed-eni-cni-plugin", need),
        ),
        share=Share(
            name="aws-cni",
            need=need,
            paths=("charts/aws-vpc-cni/crds", "config/master/aws-k8s-cni.yaml", "rpc/rpc.proto"),
            grpc_proto="rpc/rpc.proto",
        ),
    )


VPC_CNI = CniPrograms(
    families={each.version: _family(each) for each in VERSIONS.values()},
    packages=dict.fromkeys(VERSIONS, ()),
)
