"""Who may reach the API server: this machine's public address in the place of `caller`."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from cni.problems import Problem
from components.eks.settings import CALLER

URL = "https://checkip.amazonaws.com"
_SECONDS = 6


class CallerUnknownError(Exception):
    """This machine's public address could not be found; says why."""


def public_address() -> str:
    """The IPv4 address that AWS sees this machine's requests come from.

    :raises CallerUnknownError: AWS did not answer, or answered something else.
    """
    try:
        # Through the proxy that HTTPS_PROXY names, as the calls of the API will go too.
        with urllib.request.urlopen(URL, timeout=_SECONDS) as answer:
            text = answer.read(64).decode("ascii", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise CallerUnknownError(f"{URL} does not answer ({error})") from None
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise CallerUnknownError(f"{URL} answered {text!r}") from None


def resolve(cidrs: Sequence[str], address: str | None) -> tuple[str, ...]:
    """The networks, each once, with `caller` as the address's /32."""
    networks = [f"{address}/32" if cidr == CALLER else cidr for cidr in cidrs]
    return tuple(dict.fromkeys(networks))


def unknown(error: CallerUnknownError, cidrs: Sequence[str]) -> Problem:
    """The finding for an address that could not be found."""
    key = f"eks.apiCidrs[{list(cidrs).index(CALLER)}]"
    reason = f"{error}; name the networks that this machine reaches AWS from"
    return Problem(key, CALLER, reason, key, "<your public address>/32")
