"""Makes sure that every scenario has its Pulumi stack, and that no tracked file shows it.

``pulumi stack init`` writes the passphrase's salt into ``Pulumi.<stack>.yaml`` of the
project it runs in. So it runs in a scratch project of the same name: the salt stays in
the stack's state, and :mod:`lab.toolchain.launcher` keeps it out of the files afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.toolchain import process
from lab.toolchain.cache import Cache
from lab.toolchain.errors import ToolchainError
from lab.toolchain.login import Login


def project_name(checkout: Path) -> str | None:
    """The ``name:`` of ``Pulumi.yaml``; None where there is no project."""
    try:
        text = (checkout / "Pulumi.yaml").read_text()
    except OSError:
        return None
    found = re.search(r"^name:\s*[\"']?([\w.-]+)", text, re.MULTILINE)
    return found.group(1) if found else None


def missing_stacks(
    login: Login,
    project: str,
    names: Iterable[str],
    pulumi: Path,
    environment: Mapping[str, str],
) -> list[str]:
    """The stacks that the backend does not have; a file backend is looked into directly."""
    wanted = list(names)
    if login.backend.startswith("file://"):
        files = {name: login.state_file(project, name) for name in wanted}
        return [name for name, file in files.items() if file is None or not file.exists()]
    with_project = {**environment}
    told = process.run(
        [pulumi, "stack", "ls", "--project", project, "--json"],
        what="listing the Pulumi stacks",
        env=with_project,
    )
    there = {str(entry["name"]).rsplit("/", 1)[-1] for entry in json.loads(told)}
    return [name for name in wanted if name not in there]


def create(
    pulumi: Path,
    login: Login,
    checkout: Path,
    names: Iterable[str],
    environment: Mapping[str, str],
    cache: Cache,
) -> list[str]:
    """Create the stacks that are missing, and return their names."""
    project = project_name(checkout)
    names = list(names)
    if project is None or not names:
        return []
    absent = missing_stacks(login, project, names, pulumi, environment)
    if not absent:
        return []
    with cache.scratch("stacks") as scratch:
        (scratch / "Pulumi.yaml").write_text(f"name: {project}\nruntime: python\n")
        for name in absent:
            try:
                process.run(
                    [pulumi, "--non-interactive", "stack", "init", "--no-select", name],
                    what=f"creating the Pulumi stack {name}",
                    cwd=scratch,
                    env=environment,
                )
            except ToolchainError as error:
                if "already exists" not in str(error):
                    raise
    return absent
