"""The Pulumi that is used: which command, whose backend, which stacks, in which environment.

Command and backend are the user's own where there are some. Ours are a Pulumi that is built here,
and a folder of the user's state, encrypted with a passphrase that is made there.

``pulumi stack init`` writes the passphrase's salt into ``Pulumi.<stack>.yaml`` of the project that
it runs in. So stacks are made in a scratch project of the same name: the salt stays in the stack's
state, and :mod:`lab.toolchain.launcher` keeps it out of the files afterwards.
"""

import json
import os
import secrets
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import NotBuiltError, ToolchainError, UnknownStackError
from lab.toolchain import process
from lab.toolchain.bootstrap import PythonEnv
from lab.toolchain.build import Builder
from lab.toolchain.cache import Cache, digest, digest_files, state_root
from lab.toolchain.launcher import (
    LAB_TARGET,
    PROJECT_FILE,
    create_stack,
    read_yaml,
    settings_tree,
    state_file,
    target_of,
)
from lab.toolchain.programs import ENGINE, PODS, Need, needs_of_lab, program_of

SCRIPTS = (
    "python/cmd/pulumi-language-python-exec",
    "python/dist/pulumi-resource-pulumi-python",
    "python/dist/pulumi-analyzer-policy-python",
)
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Engine:
    """A Pulumi command; ``ours`` when it was built here."""

    command: Path
    ours: bool


def path_without(cache: Cache, path: str) -> str:
    """PATH without the folders of our cache, so that ours is never taken for the user's."""
    own = f"{cache.root}{os.sep}"
    return os.pathsep.join(part for part in path.split(os.pathsep) if not part.startswith(own))


def own_pulumi(cache: Cache, environment: Mapping[str, str]) -> Path | None:
    """A Pulumi of the user's on PATH."""
    path = path_without(cache, environment.get("PATH", ""))
    command = shutil.which("pulumi", path=path)
    return Path(command) if command else None


def built_folder(builder: Builder) -> Path:
    """Where our Pulumi, its language host and the host's scripts stand side by side."""
    parts: list[str] = []
    for name in ("pulumi", "pulumi-language-python"):
        family, _ = program_of(name)
        parts += [family.version, builder.inputs(family)]
    return builder.cache.path(f"pulumi-bin-{digest([*parts, *SCRIPTS])}")


def assemble(builder: Builder) -> Path:
    """Put our Pulumi's parts into one folder, from the programs and files in the cache."""
    target = built_folder(builder)
    if target.is_dir():
        return target
    with builder.cache.scratch("pulumi-bin") as scratch:
        folder = scratch / "bin"
        folder.mkdir()
        for name in ("pulumi", "pulumi-language-python"):
            family, program = program_of(name)
            (folder / name).hardlink_to(builder.program_path(family, program))
            if family.share is not None:
                source = builder.share_path(family, family.share)
                for script in SCRIPTS:
                    place = folder / Path(script).name
                    shutil.copyfile(source / script, place)
                    place.chmod(0o755)
        return builder.cache.publish(folder, target)


def find_engine(builder: Builder, environment: Mapping[str, str]) -> Engine:
    """The Pulumi to run."""
    own = own_pulumi(builder.cache, environment)
    if own is not None:
        return Engine(own, ours=False)
    command = built_folder(builder) / "pulumi"
    if not command.exists():
        raise NotBuiltError("pulumi is not built yet; run `make setup` in the checkout")
    return Engine(command, ours=True)


def launcher_folder(cache: Cache, python: Path) -> Path:
    """A folder that holds :mod:`lab.toolchain.launcher` under the name ``pulumi``.

    :param python: runs it: it reads YAML.
    """
    target = cache.path(f"launcher-{digest_files([_LAUNCHER], str(python))}")
    if not target.is_dir():
        with cache.scratch("launcher") as scratch:
            folder = scratch / "bin"
            folder.mkdir()
            shutil.copyfile(_LAUNCHER, folder / _LAUNCHER.name)
            command = folder / "pulumi"
            script = target / _LAUNCHER.name
            # A path in a #! line must be short and without spaces.
            words = f'{shlex.quote(str(python))} {shlex.quote(str(script))} "$@"'
            command.write_text(f"#!/bin/sh\nexec {words}\n")
            command.chmod(0o755)
            cache.publish(folder, target)
    return target


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


def find_login(environment: Mapping[str, str], project_file: Path | None = None) -> Login:
    """The login in force, looked up as Pulumi itself does."""
    state = state_root(environment)
    backend = f"file://{state / 'pulumi'}"
    own = _own_backend(environment, project_file)
    if own is not None and own != backend:
        return Login(own, ours=False, exports={})
    exports = {"PULUMI_BACKEND_URL": backend}
    names = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")
    passphrase = str(state / "passphrase")
    if all(environment.get(name) in (None, "", passphrase) for name in names) and (
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
        backend = read_yaml(project_file).get("backend")
        if isinstance(backend, dict) and backend.get("url"):
            return str(backend["url"])
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
        files = {name: state_file(login.backend, project, name) for name in wanted}
        return [name for name, file in files.items() if file is None or not file.exists()]
    listed = process.run(
        [pulumi, "stack", "ls", "--project", project, "--json"],
        what="listing the Pulumi stacks",
        env=environment,
    )
    there = {str(entry["name"]).rsplit("/", 1)[-1] for entry in json.loads(listed)}
    return [name for name in wanted if name not in there]


def create_stacks(
    pulumi: Path,
    login: Login,
    checkout: Path,
    names: Iterable[str],
    environment: Mapping[str, str],
) -> list[str]:
    """Create the stacks that are missing, and return their names."""
    project = project_name(checkout)
    names = list(names)
    if project is None or not names:
        return []
    absent = missing_stacks(login, project, names, pulumi, environment)
    if not absent:
        return []
    for name in absent:
        done = create_stack(pulumi, project, name, environment)
        if done.returncode != 0 and "already exists" not in done.stderr:
            raise ToolchainError(f"creating the Pulumi stack {name} failed:\n{done.stderr}")
    return absent


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
        folders.insert(1, launcher_folder(builder.cache, python.python))
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


# -- a checkout's stacks, by its files -------------------------------------------------------------


def stacks(checkout: Path) -> list[str]:
    """The scenarios of a checkout: one per ``Pulumi.<stack>.yaml``."""
    files = checkout.glob("Pulumi.*.yaml")
    return sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files)


def stack_file(checkout: Path, stack: str) -> Path:
    """The file of a stack.

    :raises UnknownStackError: there is none; the message lists those that there are.
    """
    known = stacks(checkout)
    if stack not in known:
        listed = ", ".join(known) or "(none)"
        reason = f"unknown stack {stack!r}" if stack else "name a stack, as in STACK=scenario-e"
        raise UnknownStackError(f"{reason}; the stacks are: {listed}")
    return checkout / f"Pulumi.{stack}.yaml"


def project_name(checkout: Path) -> str | None:
    """The ``name:`` of ``Pulumi.yaml``; None where there is no project."""
    try:
        return str(read_yaml(checkout / PROJECT_FILE)["name"])
    except (OSError, KeyError, ValueError):
        return None


def settings_of_stack(checkout: Path, stack: str) -> dict[str, Any]:
    """A stack's settings over the project's defaults, not yet validated.

    :raises UnknownStackError: there is no such stack.
    :raises ToolchainError: a file is no YAML.
    """
    try:
        return settings_tree(checkout, stack_file(checkout, stack))
    except ValueError as error:
        raise ToolchainError(str(error)) from None


def needs_of_stack(checkout: Path, stack: str) -> frozenset[Need]:
    """What has to be there for a stack, and no more.

    Settings that are refused later need the engine alone, by which the preview refuses them.

    :raises ToolchainError: there is no such stack, or a file is no YAML.
    """
    settings = settings_of_stack(checkout, stack)
    scenario = settings.get("scenario")
    if target_of(settings) != LAB_TARGET:
        return frozenset({ENGINE, PODS})
    if not isinstance(scenario, dict):
        return frozenset({ENGINE})
    cni, version = str(scenario.get("cni")), str(scenario.get("cniVersion"))
    eks = settings.get("eks")
    kubernetes = str(eks.get("version")) if isinstance(eks, dict) else ""
    return needs_of_lab(cni, version, kubernetes, kube_proxy=scenario.get("kubeProxy") != "none")


def needs_to_take_down(
    checkout: Path, stack: str, environment: Mapping[str, str]
) -> frozenset[Need]:
    """What has to be there to destroy a stack, which may have lost its file: the engine knows what
    the stack has.

    :raises UnknownStackError: it has no file, and the backend does not know it.
    :raises ToolchainError: its file is no YAML.
    """
    if stack not in stacks(checkout):
        login = find_login(environment, checkout / PROJECT_FILE)
        kept = state_file(login.backend, project_name(checkout) or "", stack)
        if stack and (kept is None or kept.exists()):
            return frozenset({ENGINE})
    return needs_of_stack(checkout, stack)
