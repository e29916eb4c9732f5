"""Puts the stand-ins where the engine looks for plugins: on PATH."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.engine.eks.standins.account import Clusters
from tests.engine.eks.standins.aws import Aws
from tests.engine.eks.standins.journal import FOLDER

PACKAGES = ("aws", "eks", "kubernetes")
_CHECKOUT = Path(__file__).parents[4]


@dataclass(frozen=True, slots=True)
class Cloud:
    """What the stand-in of AWS is told about the cloud that it is.

    :param account: the file of the account (:class:`tests.aws.account.Account`).
    :param endpoint: of the API server that clusters have.
    :param certificate: its CA, in base64.
    :param vpc: the identity that a VPC gets.
    """

    account: str
    endpoint: str
    certificate: str
    vpc: str


def install(folder: Path, journal: Path, cloud: Cloud) -> Path:
    """Write the plugins' commands into a folder, which then goes onto PATH.

    :param journal: the folder of the :class:`tests.engine.eks.standins.journal.Journal`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = {f"STANDIN_{name.upper()}": value for name, value in asdict(cloud).items()}
    told |= {"PYTHONPATH": str(_CHECKOUT), FOLDER: str(journal)}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in told.items())
    for package in PACKAGES:
        command = [sys.executable, "-m", "tests.engine.eks.standins", package]
        script = folder / f"pulumi-resource-{package}"
        script.write_text(f'#!/bin/sh\n{exports}exec {shlex.join(command)} "$@"\n')
        script.chmod(0o755)
    return folder


def aws_package(environment: Mapping[str, str]) -> Aws:
    """The package of a stand-in that such a command has started."""
    told = {name: environment[f"STANDIN_{name.upper()}"] for name in Cloud.__dataclass_fields__}
    return Aws(
        endpoint=told["endpoint"],
        certificate=told["certificate"],
        vpc=told["vpc"],
        clusters=Clusters(Path(told["account"])),
    )
