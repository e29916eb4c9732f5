"""A user's machine as far as AWS tools look at it: environment, files, and the AWS CLI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.toolchain.cache import default_cache

_CLEARED = [name for name in os.environ if name.startswith("AWS_")] + ["AWS_PROFILE"]


def set_up(monkeypatch: pytest.MonkeyPatch, home: Path, url: str) -> None:
    """A home of its own, static keys, and all of AWS at a URL; what is set up stays at hand."""
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)
    (home / ".aws").mkdir()
    (home / "bin").mkdir()
    for name, value in {
        # The default is in the home folder that the next line replaces.
        "CNI_BENCHMARK_CACHE": str(default_cache()),
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "AWS_CONFIG_FILE": str(home / ".aws/config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws/credentials"),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)


def put_aws_cli(folder: Path, says: str = "aws-cli/2.31.0 Python/3.13.7 Linux/6.1") -> None:
    """An `aws` that only knows its version, as a program in a folder."""
    program = folder / "aws"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
