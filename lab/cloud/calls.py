"""Calls of the EC2 API as the lab's server writes them down, one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import parse_qsl

# `Credential=<access key>/<day>/<region>/<service>/aws4_request` (Signature Version 4).
_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/")
_ERROR_CODE = re.compile(r"<Code>([^<]+)</Code>")
_READS = ("Describe", "Get", "List")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: by whom, of what, with what outcome.

    :param caller: the access key that signed it.
    :param action: as IAM names it: ``ec2:DescribeVpcs``.
    :param request: the parameters in the Query API's own names.
    :param error: the error's code, where it failed.
    """

    caller: str
    action: str
    request: dict[str, str]
    status: int
    error: str | None = None

    @classmethod
    def of(cls, authorization: str, form: bytes, status: str, body: bytes) -> Call:
        """A call from its HTTP request and answer.

        :param status: the status line, e.g. ``200 OK``.
        """
        signed = _CREDENTIAL.search(authorization)
        caller, service = signed.groups() if signed else ("", "unknown")
        request = dict(parse_qsl(form.decode(errors="replace"), keep_blank_values=True))
        request.pop("Version", None)
        action = request.pop("Action", "")
        number = int(status.split()[0])
        failed = _ERROR_CODE.search(body.decode(errors="replace")) if number >= 400 else None
        return cls(
            caller=caller,
            action=f"{service}:{action}",
            request=request,
            status=number,
            error=failed[1] if failed else None,
        )

    @property
    def changes(self) -> bool:
        """Whether it has changed something."""
        name = self.action.partition(":")[2]
        return self.status < 400 and not name.startswith(_READS)

    @property
    def authorised_as(self) -> set[str]:
        """The actions that IAM asks a policy about for this call: tags that are set by a call that
        makes something need a permission of their own ("Grant permission to tag Amazon EC2
        resources during creation", Amazon EC2 User Guide)."""
        tagged = any(key.startswith("TagSpecification.") for key in self.request)
        return {self.action, "ec2:CreateTags"} if tagged else {self.action}

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def read(file: Path) -> list[Call]:
    """All calls written so far; a last line that is not whole yet is left for the next time."""
    lines = file.read_text().splitlines(keepends=True)
    return [Call(**json.loads(line)) for line in lines if line.endswith("\n")]


def actions_of(calls: Iterable[Call], caller: str) -> set[str]:
    """The actions that a caller's policy has to grant for what it has called."""
    return {each for call in calls if call.caller == caller for each in call.authorised_as}
