"""A cloud without a cloud: AWS's APIs, provider plugins and a cluster for one stack's user."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3

from tests.aws.account import QUOTAS, REGION, Account
from tests.aws.machine import put_aws_cli
from tests.aws.server import AwsServer
from tests.engine.checkout import Checkout
from tests.engine.eks.events import Events
from tests.engine.eks.standins.install import Cloud, install
from tests.engine.eks.standins.journal import Entry, Journal

#: Of the account; it must not be seen anywhere.
SECRET_KEY = "no-real-key-of-anybody"
#: Where an API server would be in a preview: nothing may connect to it.
NOWHERE = "https://127.0.0.1:1"
_ACCOUNT = {
    # All worlds of a process share moto's VPCs.
    "quotas": {**QUOTAS, "L-F678F1CE": 100.0},
}
# What a stack is told beside its target: the caller's address would be asked for on the internet.
SETTINGS: dict[str, object] = {"target": "eks", "eks.apiCidrs": ["203.0.113.7/32"]}


@dataclass(frozen=True)
class Step:
    """What an operation did: its exit code and words, and what engine and providers tell."""

    code: int
    told: str
    events: Events
    journal: list[Entry]
    log: Path

    def asked(self, *ops: str, preview: bool = False) -> list[Entry]:
        """What providers were asked to do; changes of the cloud where nothing else is named."""
        wanted = ops or ("create", "update", "delete")
        return [each for each in self.journal if each.op in wanted and each.preview == preview]

    def of(self, type_: str) -> list[Entry]:
        """The changes of resources of a type."""
        return [each for each in self.asked() if each.type == type_]


@dataclass(frozen=True)
class World:
    """One stack with a cloud of its own."""

    stack: str
    checkout: Checkout
    aws: AwsServer
    journal: Journal
    account: Path
    vpc: str

    def pulumi(self, *words: str) -> str:
        """The output of a Pulumi command on the stack that must succeed."""
        return self.checkout.ok("pulumi", *words, "-s", self.stack)

    def must(self, *words: str) -> Step:
        """An operation on the stack that must succeed."""
        done = self.step(*words)
        assert done.code == 0, f"pulumi {' '.join(words)} -s {self.stack}:\n{done.told}"
        return done

    def step(self, *words: str) -> Step:
        """An operation on the stack, whatever becomes of it."""
        before = len(self.journal.entries())
        log = self.journal.folder / f"{time.time_ns()}-events.jsonl"
        done = self.checkout.run("pulumi", *words, "--event-log", str(log), "-s", self.stack)
        entries = self.journal.entries()[before:]
        return Step(done.returncode, done.stdout, Events(log), entries, log)

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud."""
        return _client(service, self.aws.url)


@contextmanager
def world(
    checkout: Checkout,
    folder: Path,
    source: str,
    changes: Mapping[str, object] | None = None,
    *,
    endpoint: str = NOWHERE,
    certificate: bytes = b"",
) -> Iterator[World]:
    """A stack `eks-…` made from a scenario's file, with a cloud around its commands.

    :param folder: for what belongs to this stack.
    :param changes: settings, by dotted path.
    :param endpoint: of the API server that its cluster will have; certificate: its CA, in PEM.
    """
    account = folder / "account.json"
    folder.mkdir(parents=True)
    account.write_text(json.dumps(_ACCOUNT))
    stack = f"eks-{source.removeprefix('scenario-')}"
    with AwsServer(account=lambda: Account.read(account)) as aws:
        made = _client("ec2", aws.url).create_vpc(CidrBlock="10.0.0.0/16")
        vpc = made["Vpc"]["VpcId"]
        encoded = base64.b64encode(certificate).decode()
        programs = install(folder / "bin", folder, Cloud(str(account), endpoint, encoded, vpc))
        put_aws_cli(programs)
        env = _environment(checkout.env, programs, folder, aws.url)
        own = replace(checkout, env=env)
        own.add_stack(stack, source, {**SETTINGS, **(changes or {})})
        yield World(stack, own, aws, Journal(folder), account, vpc)


def _environment(env: Mapping[str, str], programs: Path, folder: Path, url: str) -> dict[str, str]:
    """A user's environment in which AWS is the stand-in, and the plugins are on PATH."""
    without = ("AWS_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in env.items() if not name.startswith(without)}
    return kept | {
        # A user's Python compiles the providers' large modules once, not for every command.
        "PYTHONPYCACHEPREFIX": f"{env['HOME']}/pycache",
        "PATH": f"{programs}:{env['PATH']}",
        "AWS_CONFIG_FILE": str(folder / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "aws-credentials"),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        # Nothing else is asked, the images' registries for one.
        "HTTPS_PROXY": NOWHERE.replace("https", "http"),
        # For --event-log.
        "PULUMI_DEBUG_COMMANDS": "true",
    }


def _client(service: str, url: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SECRET_KEY,
    )
