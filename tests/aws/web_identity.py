"""STS's part in IRSA: whether a service account's token may take a role.

moto gives credentials to whoever asks. What is refused here is of "AssumeRoleWithWebIdentity", AWS
Security Token Service API Reference (its errors), and of "Create a role for OpenID Connect
federation", IAM User Guide (what a provider and a role's trust say).
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Mapping
from typing import Any

import jwt
from moto.core.exceptions import ServiceException
from moto.iam.models import iam_backends

from tests.aws.account import NUMBER, Account
from tests.aws.failure import AwsError
from tests.aws.policy import Request, allows

_ACTION = "sts:AssumeRoleWithWebIdentity"


def check(account: Account, asked: Mapping[str, Any]) -> None:
    """Refuse a token that may not take the role.

    :raises AwsError: with STS's code.
    """
    iam = iam_backends[NUMBER]["aws"]
    token = asked["WebIdentityToken"]
    try:
        issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
    except (jwt.PyJWTError, KeyError):
        raise _invalid("The ID Token provided is not a valid JWT.") from None
    provider = f"arn:aws:iam::{NUMBER}:oidc-provider/{issuer.removeprefix('https://')}"
    try:
        known = iam.get_open_id_connect_provider(provider)
    except ServiceException:
        text = f"No OpenIDConnect provider found in your account for {issuer}"
        raise _invalid(text) from None
    claims = _verified(token, issuer, known.client_id_list, account.issuer_authority)
    host = known.url
    request = Request(
        _ACTION,
        context={f"{host}:aud": claims["aud"][0], f"{host}:sub": claims["sub"]},
        principal=("Federated", provider),
    )
    try:
        role = iam.get_role_by_arn(asked["RoleArn"])
        trusted = allows(json.loads(role.assume_role_policy_document), request)
    except ServiceException:
        trusted = False  # a role that is not there is told like one that does not trust
    if not trusted:
        raise AwsError("AccessDenied", f"Not authorized to perform {_ACTION}", 403)


def _verified(token: str, issuer: str, audiences: list[str], authority: str) -> dict[str, Any]:
    trusted = ssl.create_default_context(cadata=authority or None)
    try:
        about = urllib.request.urlopen(
            f"{issuer}/.well-known/openid-configuration", context=trusted, timeout=5
        )
        with about:
            location = json.load(about)["jwks_uri"]
        key = jwt.PyJWKClient(location, ssl_context=trusted).get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(
            token, key, ["RS256"], audience=audiences, issuer=issuer
        )
    except jwt.ExpiredSignatureError:
        text = "Token expired: current date/time must be before the expiration date/time"
        raise AwsError("ExpiredTokenException", text) from None
    except jwt.InvalidAudienceError:
        raise _invalid("Incorrect token audience") from None
    except (OSError, jwt.PyJWTError) as error:
        text = f"Couldn't retrieve verification key from your identity provider ({error})"
        raise _invalid(text) from None
    return claims


def _invalid(text: str) -> AwsError:
    return AwsError("InvalidIdentityToken", text)
