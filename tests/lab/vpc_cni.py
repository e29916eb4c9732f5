"""What tests ask of a lab with the VPC CNI's real daemon."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cni.registry import DATAPLANES
from cni.vpc_cni.versions import VERSIONS
from components.eks.dataplane import DATAPLANES as EKS_DATAPLANES
from lab.dataplane.vpc_cni.daemons import Ipamd, VpcCni, grpc_address
from lab.wait import until
from tests.lab.eni import EniLab

_ASK = Path(__file__).with_name("ask_ipamd.py")

#: What the EKS target gives to the service account aws-node.
(POLICY,) = EKS_DATAPLANES["vpc-cni"].managed_policies


class VpcCniLab(EniLab):
    """A running lab whose nodes have the VPC CNI's daemon."""

    @property
    def daemons(self) -> Ipamd:
        found = self.running.lab.dataplane
        assert isinstance(found, VpcCni)
        assert isinstance(found.daemons, Ipamd)
        return found.daemons

    def await_interfaces(self, node: str, count: int) -> None:
        """Wait until a node's daemon has so many interfaces: it takes them one after the other."""

        def lacking() -> str | None:
            enis = DATAPLANES["vpc-cni"].enis(self.running.lab.eni_reports()[node])
            return None if len(enis) >= count else f"{len(enis)} of {count}"

        until(f"{count} interfaces of {node}", lacking, timeout=60)

    def take(self, node: str, first: int, count: int) -> list[str]:
        """Up to ``count`` addresses from a node's daemon, as its plugin asks for them."""
        lab = self.running.lab
        version = lab.spec.cni_version
        daemon = grpc_address(VERSIONS[version].daemon)
        words = [sys.executable, str(_ASK), daemon, f"v{version}", str(first), str(count)]
        stubs = {"PYTHONPATH": str(lab.toolchain.share("aws-cni", version) / "python")}
        done = lab.sandbox.run(words, self.node(node).host, env=stubs)
        return [str(each) for each in json.loads(done.stdout)]

    def fill(self, node: str, limit: int) -> list[str]:
        there = self.pods_on(node)
        given: list[str] = []

        def filled() -> str | None:
            given.extend(self.take(node, len(given), limit + 1))
            total = there + len(given)
            return None if total >= limit else f"{total} of {limit}"

        until(f"{node} to be full", filled, timeout=120, interval=1)
        assert len(set(given)) == len(given)
        assert there + len(given) == limit
        return given
