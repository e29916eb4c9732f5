"""Where credentials come from, and when they end, from a user's files and environment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.eks.aws import Caution, Refusal
from components.eks.credentials import (
    Credentials,
    CredentialsError,
    Profile,
    check,
    open_profile,
    read,
)
from tests.aws.machine import set_up

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
SESSION = """
[profile work]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Admin

[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1

[profile old]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Admin

[profile mfa]
role_arn = arn:aws:iam::123456789012:role/Admin
mfa_serial = arn:aws:iam::123456789012:mfa/somebody
source_profile = work

[profile login]
login_session = arn:aws:iam::123456789012:user/somebody

[profile tool]
credential_process = cat {printed}
"""
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user without credentials in the environment."""
    set_up(monkeypatch, tmp_path, NOWHERE)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / ".aws/config").write_text(SESSION.format(printed=tmp_path / "printed"))
    yield tmp_path


def put_token(home: Path, name: str, **token: str) -> None:
    """A token as `aws sso login` leaves it."""
    cache = home / ".aws/sso/cache"
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"{hashlib.sha1(name.encode()).hexdigest()}.json"
    file.write_text(json.dumps({"accessToken": "t", **token}))


def refused(profile: str | None) -> str:
    with pytest.raises(CredentialsError) as caught:
        read(open_profile(profile), NOW)
    return str(caught.value.finding)


def test_static_keys_do_not_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    result = read(open_profile(None), NOW)
    assert result == Credentials("env", ends=None, says_when=True)
    assert list(check(result, NOW, 10 * HOUR, "log in")) == []


def test_a_token_in_the_environment_may_say_its_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "a")
    result = read(open_profile(None), NOW)
    assert result == Credentials("env", ends=None, says_when=False)
    (finding,) = check(result, NOW, HOUR, "log in")
    assert finding == Caution(
        "the credentials are temporary and do not say when they end: they must hold for 60 min"
    )
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", (NOW + 2 * HOUR).isoformat())
    assert read(open_profile(None), NOW).ends == NOW + 2 * HOUR


def test_keys_with_a_token_in_a_file_do_not_say_when(home: Path) -> None:
    (home / ".aws/credentials").write_text(
        "[work2]\naws_access_key_id = a\naws_secret_access_key = b\naws_session_token = c\n"
    )
    assert read(open_profile("work2"), NOW).says_when is False


def test_a_program_gives_new_ones(home: Path) -> None:
    given = {
        "Version": 1,
        "AccessKeyId": "a",
        "SecretAccessKey": "b",
        "SessionToken": "c",
        "Expiration": (NOW + HOUR).isoformat(),
    }
    (home / "printed").write_text(json.dumps(given))
    assert read(open_profile("tool"), NOW) == Credentials("custom-process")


@pytest.mark.parametrize("printed", [None, "please log in"])
def test_a_program_that_fails_is_one_line(home: Path, printed: str | None) -> None:
    if printed is not None:
        (home / "printed").write_text(printed)
    line = refused("tool")
    assert line.startswith("credentials: profile tool: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("profile", "token", "end"),
    [
        ("old", {"expiresAt": "{soon}"}, "soon"),
        # Renewed by its refresh token for as long as the client is registered.
        (
            "work",
            {"expiresAt": "{soon}", "refreshToken": "r", "registrationExpiresAt": "{late}"},
            "late",
        ),
        ("work", {"expiresAt": "{soon}"}, "soon"),
    ],
)
def test_single_sign_on_ends_with_its_token(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    token: dict[str, str],
    end: str,
) -> None:
    moments = {"soon": NOW + HOUR / 2, "late": NOW + 80 * HOUR}
    stamps = {name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in moments.items()}
    name = "corp" if profile == "work" else "https://corp.awsapps.com/start"
    put_token(home, name, **{key: text.format(**stamps) for key, text in token.items()})
    opened = open_profile(profile)
    keys = type("Frozen", (), {"token": "t"})
    loaded = type("Loaded", (), {"method": "sso", "get_frozen_credentials": lambda self: keys})
    monkeypatch.setattr(opened.core, "get_credentials", loaded)
    result = read(opened, NOW)
    assert result.ends == moments[end]
    assert opened.login == f"aws sso login --profile {profile}"
    (finding,) = [*check(result, NOW, 100 * HOUR, opened.login)]
    assert isinstance(finding, Refusal)
    assert finding.fix == opened.login


def test_single_sign_on_that_nobody_has_signed_on_to(home: Path) -> None:
    assert refused("work").endswith("Fix: aws sso login --profile work")


def test_an_mfa_code_cannot_be_asked_for(home: Path) -> None:
    assert refused("mfa") == (
        "credentials: profile mfa asks for an MFA code, and a run cannot answer. "
        'Fix: eval "$(aws configure export-credentials --profile mfa --format env)"'
    )


def test_the_consoles_login_is_not_readable_without_its_library(home: Path) -> None:
    """`aws login` needs awscrt, which this project does not have."""
    assert refused("login") == (
        "credentials: profile login is of `aws login`, which boto3 cannot read. "
        'Fix: eval "$(aws configure export-credentials --profile login --format env)"'
    )


def test_a_configuration_that_cannot_be_read(home: Path) -> None:
    (home / ".aws/config").write_text("[profile\n")
    assert refused(None).startswith("~/.aws/config: Unable to parse config file:")


def test_the_profile_that_the_environment_names_is_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    opened: Profile = open_profile(None)
    assert (opened.name, opened.config["sso_region"]) == ("work", "eu-west-1")
