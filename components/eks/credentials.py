"""The user's AWS credentials: where they come from, and whether they last for the whole run."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    MissingDependencyException,
    NoCredentialsError,
    ProfileNotFound,
)

from cni.settings import Problem, did_you_mean
from components.eks.aws import Caution, Finding, Refusal, first_line

# Sources that give new credentials whenever they are read, for as long as a run can last.
_RENEWING = {
    "assume-role",
    "assume-role-with-web-identity",
    "container-role",
    "custom-process",
    "iam-role",
    "login",
}
_ENV_END = "AWS_CREDENTIAL_EXPIRATION"  # as `aws configure export-credentials` exports it


class CredentialsError(Exception):
    """There are no usable credentials; ``finding`` says why and what helps."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(str(finding))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is known of the credentials.

    :param method: boto3's name for their source, `sso` or `env` for example.
    :param ends: when they end for good; None where they do not, or where it is not known.
    :param says_when: False for temporary ones whose end is not known.
    """

    method: str
    ends: datetime | None = None
    says_when: bool = True

    def ended(self, now: datetime) -> bool:
        """Whether nothing can be done with them any more."""
        return self.ends is not None and self.ends <= now


@dataclass(frozen=True, slots=True)
class Profile:
    """The AWS profile in use: its session, and its settings in ~/.aws/config."""

    core: botocore.session.Session
    name: str
    config: Mapping[str, Any]

    def session(self, region: str) -> boto3.Session:
        """A session of this profile for clients."""
        return boto3.Session(botocore_session=self.core, region_name=region)

    @property
    def login(self) -> str:
        """The command that gets new credentials of the profile's kind."""
        option = "" if self.name == "default" else f" --profile {self.name}"
        if "sso_session" in self.config or "sso_start_url" in self.config:
            return f"aws sso login{option}"
        if "login_session" in self.config:
            return f"aws login{option}, then {self.export}"
        return "aws configure sso, or export new AWS_ACCESS_KEY_ID, … variables"

    @property
    def export(self) -> str:
        """The command that puts the profile's present credentials into the environment."""
        option = "" if self.name == "default" else f" --profile {self.name}"
        return f'eval "$(aws configure export-credentials{option} --format env)"'


def open_profile(name: str | None) -> Profile:
    """The profile that the stack names, or the AWS tools' own choice where that is None.

    :raises CredentialsError: there is no such profile.
    """
    core = botocore.session.Session(profile=name)
    try:
        full = core.full_config
        config = dict(core.get_scoped_config())
    except ProfileNotFound:
        known = botocore.session.Session(profile=None).available_profiles if name else []
        raise CredentialsError(_no_profile(name, known)) from None
    except BotoCoreError as error:  # a file that cannot be parsed
        fix = "mend it, or set AWS_CONFIG_FILE"
        raise CredentialsError(Refusal("~/.aws/config", first_line(error), fix)) from None
    sso = full.get("sso_sessions", {}).get(config.get("sso_session"), {})
    return Profile(core, core.profile or "default", {**sso, **config})


def read(profile: Profile, now: datetime) -> Credentials:
    """Load a profile's credentials, as every other AWS tool would.

    :raises CredentialsError: there are none, or only a person at a terminal can get them.
    """
    if "mfa_serial" in profile.config and "role_arn" in profile.config:
        # Every process of the run would ask for a code of its own, and has no terminal.
        reason = f"profile {profile.name} asks for an MFA code, and a run cannot answer"
        raise CredentialsError(Refusal("credentials", reason, profile.export))
    try:
        loaded = profile.core.get_credentials()
        if loaded is None:
            raise NoCredentialsError
        method = str(loaded.method)
        ends = _known_end(method, profile)
        # boto3 fails on ended credentials when it is asked for their keys: `check` says it better.
        temporary = (ends is not None and ends <= now) or loaded.get_frozen_credentials().token
    except NoCredentialsError:
        fix = "aws configure sso, or pulumi config set --path eks.profile <your profile>"
        raise CredentialsError(Refusal("credentials", "AWS has none for you", fix)) from None
    except MissingDependencyException:
        reason = f"profile {profile.name} is of `aws login`, which boto3 cannot read"
        raise CredentialsError(Refusal("credentials", reason, profile.export)) from None
    # boto3 raises the last three for a credential_process that is missing or prints something
    # else, and for credentials that have already ended when it gets them.
    except (BotoCoreError, ClientError, OSError, ValueError, RuntimeError) as error:
        reason = f"profile {profile.name}: {first_line(error)}"
        raise CredentialsError(Refusal("credentials", reason, profile.login)) from None
    if method in _RENEWING or not temporary:
        return Credentials(method)
    return Credentials(method, ends, says_when=ends is not None)


def check(
    credentials: Credentials, now: datetime, length: timedelta, login: str
) -> Iterator[Finding]:
    """Whether credentials last for a run.

    :param length: how long the run may take from now.
    :param login: the command that gets new ones.
    """
    if not credentials.says_when:
        yield Caution(
            "the credentials are temporary and do not say when they end: they must hold for "
            f"{_minutes(length)}"
        )
    elif credentials.ends is not None and credentials.ends < now + length:
        when = f"at {credentials.ends.astimezone(UTC):%H:%M} UTC"
        left = credentials.ends - now
        state = f"end {when}, in {_minutes(left)}" if left > timedelta(0) else f"ended {when}"
        needed = f"and this run may take {_minutes(length)}"
        yield Refusal("credentials", f"they {state}, {needed}", login)


def _minutes(span: timedelta) -> str:
    return f"{max(1, round(span / timedelta(minutes=1)))} min"


def _no_profile(name: str | None, known: list[str]) -> Finding:
    if name is None:  # AWS_PROFILE names one that is not there
        reason = "AWS_PROFILE names a profile that ~/.aws/config does not have"
        return Refusal(
            "credentials", reason, "aws configure list-profiles, then export AWS_PROFILE"
        )
    others = f"there are {', '.join(known)}" if known else "there are none"
    reason = f"no such AWS profile{did_you_mean(name, known)}; {others}"
    return Problem("eks.profile", name, reason, "eks.profile", known[0] if known else None)


def _known_end(method: str, profile: Profile) -> datetime | None:
    if method == "env":
        return _moment(os.environ.get(_ENV_END))
    return _sso_end(profile.config) if method == "sso" else None


def _sso_end(config: Mapping[str, Any]) -> datetime | None:
    """When `aws sso login` is needed again, by the token in the user's cache.

    The token of an `sso_session` is renewed until its client registration ends. The token of a
    profile without one is not renewed.
    """
    name = config.get("sso_session") or config.get("sso_start_url", "")
    file = Path.home() / ".aws/sso/cache" / f"{sha1(name.encode()).hexdigest()}.json"
    try:
        token = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    renews = "sso_session" in config and "refreshToken" in token
    return _moment(token.get("registrationExpiresAt" if renews else "expiresAt"))


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.replace("UTC", "+00:00")) if text else None
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None
