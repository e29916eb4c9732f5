"""Whose Pulumi backend is used: the user's own where there is one, else ours.

Ours is a folder of the user's state, encrypted with a passphrase that is made there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.toolchain.cache import APP


def state_root(environment: Mapping[str, str]) -> Path:
    """``${XDG_STATE_HOME:-~/.local/state}/cni-benchmark``."""
    base = environment.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base).absolute() / APP


@dataclass(frozen=True, slots=True)
class Login:
    """The backend that Pulumi will use, and what has to be exported for it."""

    backend: str
    ours: bool
    exports: dict[str, str]

    @property
    def is_cloud(self) -> bool:
        """Whether it is a Pulumi service, which keeps secrets without a salt in our files."""
        return self.backend.startswith(("https://", "http://"))

    def state_file(self, project: str, stack: str) -> Path | None:
        """Where a file backend keeps a stack; None for other backends."""
        if not self.backend.startswith("file://"):
            return None
        folder = Path(self.backend.removeprefix("file://")).expanduser()
        return folder / ".pulumi" / "stacks" / project / f"{stack}.json"


def find_login(environment: Mapping[str, str], project_file: Path | None = None) -> Login:
    """The login that holds, found as Pulumi itself finds it."""
    state = state_root(environment)
    backend = f"file://{state / 'pulumi'}"
    own = _own_backend(environment, project_file)
    if own is not None and own != backend:
        return Login(own, ours=False, exports={})
    exports = {"PULUMI_BACKEND_URL": backend}
    told = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")
    passphrase = str(state / "passphrase")
    if all(environment.get(name) in (None, "", passphrase) for name in told) and (
        "PULUMI_CONFIG_PASSPHRASE" not in environment
    ):
        exports["PULUMI_CONFIG_PASSPHRASE_FILE"] = passphrase
    return Login(backend, ours=True, exports=exports)


def prepare(login: Login, environment: Mapping[str, str]) -> None:
    """Make our own backend's folder and its passphrase; nothing for a user's own."""
    if not login.ours:
        return
    state = state_root(environment)
    (state / "pulumi").mkdir(parents=True, exist_ok=True, mode=0o700)
    passphrase = state / "passphrase"
    if "PULUMI_CONFIG_PASSPHRASE_FILE" in login.exports and not passphrase.exists():
        fresh = state / f"passphrase.{os.getpid()}"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(24) + "\n")
        try:
            passphrase.hardlink_to(fresh)  # whoever comes first wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()


def _own_backend(environment: Mapping[str, str], project_file: Path | None) -> str | None:
    explicit = environment.get("PULUMI_BACKEND_URL")
    if explicit:
        return explicit
    if project_file is not None and project_file.is_file():
        text = project_file.read_text()
        found = re.search(r"^backend:\s*\n\s+url:\s*[\"']?([^\s\"']+)", text, re.MULTILINE)
        if found:
            return found.group(1)
    if environment.get("PULUMI_ACCESS_TOKEN"):
        return environment.get("PULUMI_API") or "https://api.pulumi.com"
    return _stored_backend(environment)


def _stored_backend(environment: Mapping[str, str]) -> str | None:
    home = environment.get("PULUMI_HOME") or str(Path.home() / ".pulumi")
    folder = Path(environment.get("PULUMI_CREDENTIALS_PATH") or home)
    try:
        text = (folder / "credentials.json").read_text()
    except OSError:
        return None
    try:
        current = json.loads(text).get("current") if text.strip() else None
    except (ValueError, AttributeError):
        current = "https://api.pulumi.com"  # stored encrypted: a login, in any case
    return str(current) if current else None
