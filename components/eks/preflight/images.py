"""Whether the registries have the workloads' images: nodes that pull are 15 minutes and a dollar
away by then.

Of the registries' API (OCI distribution specification) two requests an image are made: the manifest
of a tag or a digest, after the token that the registry's refusal names. Docker Hub does not count
HEAD requests as pulls.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlencode

from components.eks.preflight.findings import Caution, Finding, Refusal

_SECONDS = 6
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

Answer = Literal["there", "missing"] | str
"""Or in a few words why it cannot be said."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's name, taken apart: ``registry/repository:tag@digest``."""

    registry: str
    repository: str
    version: str
    """The digest, or where there is none the tag."""


def reference(image: str) -> Reference:
    """An image's name as container runtimes read it."""
    name, _, digest = image.partition("@")
    first, _, rest = name.partition("/")
    registry, path = (first, rest) if re.search(r"[.:]", first) and rest else (_HUB, name)
    repository, _, tag = path.partition(":")
    return Reference(registry, repository, digest or tag or "latest")


def look_up(images: Iterable[str]) -> dict[str, Answer]:
    """What the registries say of images, all of them asked at once."""
    wanted = sorted(set(images))
    with ThreadPoolExecutor(max_workers=len(wanted) or 1) as pool:
        return dict(zip(wanted, pool.map(_look_up, wanted), strict=True))


def judge(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Whether nodes will be able to pull the images."""
    unknown: dict[str, list[str]] = {}
    for image, answer in answers.items():
        if answer == "missing":
            found = f"{reference(image).registry} has no {image} (any more)"
            fix = "name another version in bench/workloads.py"
            yield Refusal("images", found, fix)
        elif answer != "there":
            unknown.setdefault(answer, []).append(image)
    for reason, named in unknown.items():
        yield Caution(f"not checked: whether {', '.join(named)} can be pulled ({reason})")


def _look_up(image: str) -> Answer:
    wanted = reference(image)
    url = f"https://{wanted.registry}/v2/{wanted.repository}/manifests/{wanted.version}"
    headers = {"Accept": _ACCEPT}
    try:
        status, challenge = _head(url, headers)
        if status == 401:
            token = _token(challenge)
            status, _ = _head(url, {**headers, "Authorization": f"Bearer {token}"})
    except (OSError, HTTPException, ValueError, KeyError) as error:
        return f"{wanted.registry} does not answer: {getattr(error, 'reason', error)}"
    if status == 404:
        return "missing"
    return "there" if status == 200 else f"{wanted.registry} answers {status}"


def _head(url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """The status, and how a refusal wants to be answered."""
    # Through the proxy that HTTPS_PROXY names, where there is one.
    request = urllib.request.Request(url, headers=dict(headers), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return int(answer.status), ""
    except HTTPError as error:
        with error:
            return error.code, str(error.headers.get("WWW-Authenticate", ""))


def _token(challenge: str) -> str:
    """An anonymous token, as the registry's refusal says where to get it.

    :raises ValueError: it wants something else. KeyError: part of it is missing.
    """
    scheme, _, parameters = challenge.partition(" ")
    if scheme.lower() != "bearer":
        raise ValueError(f"it wants {scheme or 'nothing'} for a login")
    asked = urllib.request.parse_keqv_list(urllib.request.parse_http_list(parameters))
    query = urlencode([(name, value) for name, value in asked.items() if name != "realm"])
    with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=_SECONDS) as answer:
        told = json.load(answer)
    return str(told.get("token") or told["access_token"])
