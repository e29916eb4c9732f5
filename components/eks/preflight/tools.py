"""Programs that a run starts besides Pulumi's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

from components.eks.preflight.findings import Finding, Refusal

# The kubeconfig runs `aws eks get-token` and wants v1beta1 of the exec credential API, which both
# lines of the AWS CLI give since these. Source: pulumi-eks, `nodejs/eks/dependencies.ts`.
_SINCE = {1: (1, 24, 0), 2: (2, 7, 0)}
_INSTALL = "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
_SECONDS = 20


def aws_cli_version() -> str | None:
    """What `aws --version` prints, `""` where it does not work, None where there is no `aws`."""
    program = shutil.which("aws")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # The first line: old versions of 1 print it to stderr.
    return next(iter((done.stdout or done.stderr).splitlines()), "")


def judge_aws_cli(version: str | None) -> Iterator[Finding]:
    """Whether the AWS CLI is there and new enough for the cluster's kubeconfig."""
    install = f"install version 2, {_INSTALL}"
    if version is None:
        found = "not found on PATH, and the cluster's kubeconfig runs `aws eks get-token`"
        yield Refusal("AWS CLI", found, install)
        return
    parsed = re.match(r"aws-cli/(\d+)\.(\d+)\.(\d+)", version)
    if parsed is None:
        found = f"`aws --version` printed {version!r}" if version else "`aws --version` failed"
        yield Refusal("AWS CLI", found, install)
        return
    number = tuple(int(part) for part in parsed.groups())
    since = _SINCE.get(number[0], _SINCE[1])
    if number < since:
        wanted = ".".join(str(part) for part in since)
        found = f"version {'.'.join(parsed.groups())} is too old: it takes {wanted} or later"
        yield Refusal("AWS CLI", found, install)
