"""Checks from this machine: the AWS CLI, its public address, the way to the region, and the
workloads' images.

None of them asks an API of AWS.
"""

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from ipaddress import AddressValueError, IPv4Address
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

from cni.settings import Problem
from components.eks.aws import Caution, Finding, Refusal
from components.eks.settings import CALLER

_HTTP_SECONDS = 6  # the longest wait for one answer
_CONNECTIONS = 3

# -- the AWS CLI ------------------------------------------------------------------------------

# The first version of each major line that gives v1beta1 of the exec credential API, which the
# kubeconfig's `aws eks get-token` needs. Source: pulumi-eks, `nodejs/eks/dependencies.ts`.
_CLI_SINCE = {1: (1, 24, 0), 2: (2, 7, 0)}
_CLI_INSTALL = "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"
_CLI_SECONDS = 20


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
            timeout=_CLI_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # The first line: old versions of 1 print it to stderr.
    return next(iter((done.stdout or done.stderr).splitlines()), "")


def check_aws_cli(version: str | None) -> Iterator[Finding]:
    """Whether the AWS CLI is there and new enough for the cluster's kubeconfig."""
    install = f"install version 2, {_CLI_INSTALL}"
    if version is None:
        reason = "not found on PATH, and the cluster's kubeconfig runs `aws eks get-token`"
        yield Refusal("AWS CLI", reason, install)
        return
    parsed = re.match(r"aws-cli/(\d+)\.(\d+)\.(\d+)", version)
    if parsed is None:
        reason = f"`aws --version` printed {version!r}" if version else "`aws --version` failed"
        yield Refusal("AWS CLI", reason, install)
        return
    number = tuple(int(part) for part in parsed.groups())
    since = _CLI_SINCE.get(number[0], _CLI_SINCE[1])
    if number < since:
        wanted = ".".join(str(part) for part in since)
        reason = f"version {'.'.join(parsed.groups())} is too old: it takes {wanted} or later"
        yield Refusal("AWS CLI", reason, install)


# -- this machine's public address ------------------------------------------------------------

_ADDRESS_URL = "https://checkip.amazonaws.com"


class CallerUnknownError(Exception):
    """This machine's public address is not known; says why."""


def public_address() -> str:
    """The IPv4 address that AWS sees this machine's requests come from.

    :raises CallerUnknownError: AWS did not answer, or answered something else.
    """
    try:
        # urllib goes through the proxy that HTTPS_PROXY names, as the API's clients will too.
        with urllib.request.urlopen(_ADDRESS_URL, timeout=_HTTP_SECONDS) as answer:
            text = answer.read(64).decode("ascii", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise CallerUnknownError(f"{_ADDRESS_URL} does not answer ({error})") from None
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise CallerUnknownError(f"{_ADDRESS_URL} answered {text!r}") from None


def resolve_caller(cidrs: Sequence[str], address: str | None) -> tuple[str, ...]:
    """The networks, each once, with `caller` as the address's /32."""
    networks = [f"{address}/32" if cidr == CALLER else cidr for cidr in cidrs]
    return tuple(dict.fromkeys(networks))


def caller_unknown(error: CallerUnknownError, cidrs: Sequence[str]) -> Problem:
    """The finding for a public address that is not known."""
    key = f"eks.apiCidrs[{list(cidrs).index(CALLER)}]"
    reason = f"{error}; name the networks that this machine reaches AWS from"
    return Problem(key, CALLER, reason, key, "<your public address>/32")


# -- the way to the region --------------------------------------------------------------------


def round_trip(url: str) -> float | None:
    """Seconds to a server and back: the fastest of a few connections, which the kernel makes.

    :returns: None where a proxy is in between, which would be what is measured; 0 where nobody
        answers, which others tell.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return None
    try:
        # What resolving the name takes is no part of it.
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        return min(_connecting_seconds((address, port)) for _ in range(_CONNECTIONS))
    except OSError:
        return 0.0


def _connecting_seconds(address: tuple[str, int]) -> float:
    start = time.monotonic()
    socket.create_connection(address, timeout=_HTTP_SECONDS).close()
    return time.monotonic() - start


# -- the workloads' images --------------------------------------------------------------------

# Nodes that fail to pull an image are 15 minutes and a dollar away. Each image takes two requests
# (OCI distribution specification): for the manifest of its tag or digest, and for the token that
# the registry's refusal names. Docker Hub does not count HEAD requests as pulls.

_HUB = "registry-1.docker.io"
# What container runtimes take: lists of one manifest per architecture, and single ones.
_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.v2",
    )
)

ImageState = Literal["there", "missing"] | str
"""Or its digest, where the registry tells it; or a few words why it is not known."""
_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]{32,}")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's name, taken apart: ``registry/repository:tag@digest``."""

    registry: str
    repository: str
    version: str
    """The digest, or where there is none the tag."""


def parse_reference(image: str) -> Reference:
    """An image's name as container runtimes read it."""
    name, _, digest = image.partition("@")
    first, _, rest = name.partition("/")
    registry, path = (first, rest) if re.search(r"[.:]", first) and rest else (_HUB, name)
    repository, _, tag = path.partition(":")
    return Reference(registry, repository, digest or tag or "latest")


def look_up_images(images: Iterable[str]) -> dict[str, ImageState]:
    """Ask the images' registries, all at once."""
    wanted = sorted(set(images))
    with ThreadPoolExecutor(max_workers=len(wanted) or 1) as pool:
        return dict(zip(wanted, pool.map(_image_state, wanted), strict=True))


def check_images(states: Mapping[str, ImageState]) -> Iterator[Finding]:
    """Whether nodes will be able to pull the images."""
    unknown: dict[str, list[str]] = {}
    for image, state in states.items():
        if state == "missing":
            reason = f"{parse_reference(image).registry} has no {image} (any more)"
            yield Refusal("images", reason, "name another version in bench/workloads.py")
        elif state != "there" and not _DIGEST.fullmatch(state):
            unknown.setdefault(state, []).append(image)
    for reason, named in unknown.items():
        yield Caution(f"not checked: whether {', '.join(named)} can be pulled ({reason})")


def digests(states: Mapping[str, ImageState]) -> dict[str, str]:
    """What the images' tags stand for now, as far as their registries have told it."""
    return {image: state for image, state in states.items() if _DIGEST.fullmatch(state)}


def _image_state(image: str) -> ImageState:
    wanted = parse_reference(image)
    url = f"https://{wanted.registry}/v2/{wanted.repository}/manifests/{wanted.version}"
    headers = {"Accept": _ACCEPT}
    try:
        status, told = _head(url, headers)
        if status == 401:
            token = _token(told.get("WWW-Authenticate", ""))
            status, told = _head(url, {**headers, "Authorization": f"Bearer {token}"})
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return f"{wanted.registry} does not answer: {getattr(error, 'reason', error)}"
    if status == 404:
        return "missing"
    if status != 200:
        return f"{wanted.registry} answers {status}"
    digest = told.get("Docker-Content-Digest", "")
    return digest if _DIGEST.fullmatch(digest) else "there"


def _head(url: str, headers: Mapping[str, str]) -> tuple[int, Message]:
    """The status, and the answer's headers."""
    # urllib goes through the proxy that HTTPS_PROXY names.
    request = urllib.request.Request(url, headers=dict(headers), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_HTTP_SECONDS) as answer:
            return int(answer.status), answer.headers
    except HTTPError as error:
        with error:
            return error.code, error.headers


def _token(challenge: str) -> str:
    """An anonymous token, from the place that the registry's challenge names.

    :raises ValueError: the challenge asks for another kind of login.
    :raises KeyError: part of the challenge or of the answer is missing.
    """
    scheme, _, parameters = challenge.partition(" ")
    if scheme.lower() != "bearer":
        raise ValueError(f"it wants {scheme or 'nothing'} for a login")
    asked = urllib.request.parse_keqv_list(urllib.request.parse_http_list(parameters))
    query = urlencode([(name, value) for name, value in asked.items() if name != "realm"])
    with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=_HTTP_SECONDS) as answer:
        body = json.load(answer)
    return str(body.get("token") or body["access_token"])
