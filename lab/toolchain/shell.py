"""The environment in which `pulumi`, `python` and the checks run, also as shell exports."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from lab.toolchain.build import Builder
from lab.toolchain.engine import Engine, launcher_folder, path_without
from lab.toolchain.login import Login, state_root
from lab.toolchain.python_env import PythonEnv


def changes(
    builder: Builder,
    python: PythonEnv,
    engine: Engine | None,
    login: Login,
    project: str | None,
    environment: Mapping[str, str],
) -> dict[str, str]:
    """The variables to set on top of the user's environment; without an engine, Python's only."""
    folders = [python.folder / "bin"]
    exports = {"VIRTUAL_ENV": str(python.folder), "PULUMI_SKIP_UPDATE_CHECK": "true"}
    if engine is not None and engine.ours:
        folders.append(engine.command.parent)
    if engine is not None and project is not None and not login.is_cloud:
        folders.insert(1, launcher_folder(builder.cache))
        exports["CNI_BENCHMARK_PULUMI"] = str(engine.command)
        exports["CNI_BENCHMARK_PROJECT"] = project
        exports["CNI_BENCHMARK_STATE"] = str(state_root(environment))
        exports["PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER"] = "true"
    rest = path_without(builder.cache, environment.get("PATH", os.defpath))
    exports["PATH"] = os.pathsep.join([*(str(folder) for folder in folders), rest])
    return exports | login.exports if engine is not None else exports


def as_exports(variables: Mapping[str, str]) -> str:
    """Lines for ``eval`` in any POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def project_file(checkout: Path) -> Path:
    return checkout / "Pulumi.yaml"
