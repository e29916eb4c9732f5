"""AWS's error responses, in the protocols of its services."""

from __future__ import annotations

import json
from xml.sax.saxutils import escape

_ENVELOPES = {
    "ec2": "<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>",
    "query": "<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>",
}


class AwsError(Exception):
    """A call that AWS refuses."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status

    def response(self, protocol: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body. Source: Smithy's AWS protocols, "Operation error"."""
        envelope = _ENVELOPES.get(protocol)
        if envelope is None:
            body = json.dumps({"__type": self.code, "message": self.message})
            headers = {"x-amzn-errortype": self.code, "Content-Type": "application/json"}
            return self.status, headers, body
        error = f"<Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
        body = envelope.format(error=f"<Error>{error}</Error>")
        return self.status, {"Content-Type": "text/xml"}, body
