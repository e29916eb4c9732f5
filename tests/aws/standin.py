"""AWS's APIs for tests: moto, behind a layer that answers what moto does not have and that fails
as AWS does, in the protocol of each service.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model

from tests.aws.account import Account
from tests.aws.answers import ANSWERS, Parameters
from tests.aws.failure import AwsError
from tests.aws.web_identity import check as check_web_identity

# Services by the names that requests are signed for, where botocore has another.
_BY_SIGNING_NAME = {"servicequotas": "service-quotas"}
# Error codes by protocol: EC2 has its own ("Error codes for the Amazon EC2 API"), and JSON services
# append "Exception" ("Common errors" of each API reference).
_EXPIRED = {"ec2": "RequestExpired", "query": "ExpiredToken"}
_INVALID = {"ec2": "AuthFailure", "query": "InvalidClientTokenId"}
_DENIED = {"ec2": "UnauthorizedOperation", "query": "AccessDenied"}
# Calls that nobody signs ("Making API requests", STS: the token says who asks), by their action.
_UNSIGNED = {"AssumeRoleWithWebIdentity": "sts"}
# What has to hold before moto answers, which lets everything pass.
CHECKS: dict[tuple[str, str], Callable[[Account, Parameters], None]] = {
    ("sts", "AssumeRoleWithWebIdentity"): check_web_identity,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request of an API, as far as it can be told from outside."""

    service: str
    signing_name: str
    operation: OperationModel
    parameters: Parameters

    @property
    def protocol(self) -> str:
        """Of the service: ec2, query, json or rest-json."""
        return self.operation.service_model.protocol

    @property
    def action(self) -> str:
        """The IAM action that it takes."""
        return f"{self.signing_name}:{self.operation.name}"


class StandIn:
    """A WSGI application that is AWS.

    :param account: what the account is like now; asked for every request.
    :param moto: answers all that is not answered here.
    :param note: gets every call's IAM action.
    """

    def __init__(
        self, account: Callable[[], Account], moto: WSGIApplication, note: Callable[[str], None]
    ) -> None:
        self._account, self._moto, self._note = account, moto, note

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Read here, and once more by moto.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        call = _read(Request({**environ, "wsgi.input": BytesIO(body)}))
        environ["wsgi.input"] = BytesIO(body)
        if call is None:  # moto's own API
            return self._moto(environ, start_response)
        self._note(call.action)
        account = self._account()
        time.sleep(account.delay)
        if call.signing_name in account.silent:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        headers: Mapping[str, str]
        text: str | bytes
        try:
            _refuse(call, account)
            if check := CHECKS.get((call.service, call.operation.name)):
                check(account, call.parameters)
            made = ANSWERS.get((call.service, call.operation.name))
            answer = made(account, call.parameters) if made else None
        except AwsError as failure:
            status, headers, text = failure.response(call.protocol)
        else:
            if answer is None:
                return self._moto(environ, start_response)
            serializer = get_serializer_class(call.service, call.protocol)
            response = serializer(call.operation).serialize(answer)
            status, headers, text = response["status_code"], response["headers"], response["body"]
        start_response(f"{status} -", list(headers.items()))
        return [text.encode() if isinstance(text, str) else text]


def _read(request: Request) -> Call | None:
    scope = request.headers.get("Authorization", "").partition("Credential=")[2].split("/")
    signed_for = scope[3] if len(scope) >= 5 else _UNSIGNED.get(request.values.get("Action", ""))
    if signed_for is None:
        return None
    service = _BY_SIGNING_NAME.get(signed_for, signed_for)
    model: ServiceModel = get_service_model(service)
    router = get_service_router(service)
    parser = PROTOCOL_PARSERS[model.protocol]
    operation, in_path = router.match(request)
    parsed = parser(operation).parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.data,
            "url_path": request.path,
            "url_params": in_path,
        }
    )
    return Call(service, signed_for, operation, parsed)


def _refuse(call: Call, account: Account) -> None:
    """Fail as AWS does before it looks at what is asked."""
    if account.credentials == "expired":
        code = _EXPIRED.get(call.protocol, "ExpiredTokenException")
        raise AwsError(code, "The security token included in the request is expired", 403)
    if account.credentials == "invalid":
        code = _INVALID.get(call.protocol, "UnrecognizedClientException")
        raise AwsError(code, "The security token included in the request is invalid", 403)
    if call.action in account.denied:
        code = _DENIED.get(call.protocol, "AccessDeniedException")
        what = f"User: {account.arn} is not authorized to perform: {call.action} on resource: *"
        raise AwsError(code, what, 403)
