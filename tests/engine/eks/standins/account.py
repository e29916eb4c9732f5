"""The clusters of the AWS account that :mod:`tests.aws.server` plays, as the stand-in makes them.

The program asks EKS itself where a cluster's API server is, so a cluster has to be in the account
from its creation to its deletion. The server reads the account anew for every call.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.engine.eks.standins.package import Props


class Clusters:
    """The account's file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, cluster: Props) -> None:
        """A cluster, by its outputs."""
        account = json.loads(self._file.read_text())
        account.setdefault("clusters", {})[cluster["name"]] = {
            "endpoint": cluster["endpoint"],
            "certificateAuthority": cluster["certificateAuthority"],
            "version": cluster["version"],
            "tags": cluster["tagsAll"],
        }
        self._write(account)

    def remove(self, name: str) -> None:
        """A cluster that has been deleted."""
        account = json.loads(self._file.read_text())
        account.get("clusters", {}).pop(name, None)
        self._write(account)

    def _write(self, account: Props) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(account))
        fresh.replace(self._file)
