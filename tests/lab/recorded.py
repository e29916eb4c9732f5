"""The calls that a lab's EC2 API has written down, and the permissions that they need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lab.cloud.ec2 import Call


def read_calls(file: Path) -> list[Call]:
    """All calls written so far; a last line that is not whole yet is left for the next time."""
    lines = file.read_text().splitlines(keepends=True)
    return [Call(**json.loads(line)) for line in lines if line.endswith("\n")]


def authorised_as(call: Call) -> set[str]:
    """The actions that IAM asks a policy about for this call: tags that are set by a call that
    makes something need a permission of their own ("Grant permission to tag Amazon EC2
    resources during creation", Amazon EC2 User Guide)."""
    tagged = any(key.startswith("TagSpecification.") for key in call.request)
    return {call.action, "ec2:CreateTags"} if tagged else {call.action}


def actions_of(calls: Iterable[Call], caller: str) -> set[str]:
    """The actions that a caller's policy has to grant for what it has called."""
    return {each for call in calls if call.caller == caller for each in authorised_as(call)}
