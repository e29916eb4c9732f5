"""Runs the real Pulumi, without its passphrase salt getting into tracked files.

With a file or bucket backend Pulumi writes an ``encryptionsalt`` into
``Pulumi.<stack>.yaml`` on every operation, although the stack's state holds it too.
For this project's operations that accept ``--config-file``, this gives Pulumi a
private copy of the stack's file; everything else goes through as it is. It is copied
into the cache under the name ``pulumi`` and ends by becoming the real one.

A file that names a secrets provider or holds a salt of its own is the user's decision:
then nothing is changed.

It also keeps Pulumi from fetching provider plugins for stacks that have no use for them:
the Python environment holds their packages for all targets, which is enough for Pulumi to
fetch hundreds of megabytes. Stacks on clusters outside the lab get theirs.

Nothing but the standard library and PyYAML is imported: the copy runs by itself.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PROJECT_FILE = "Pulumi.yaml"
LAB_TARGET = "lab"
"""The target that needs programs of ours and no plugins; the one of a stack that names none."""
_OWN_SECRETS = {"encryptionsalt", "secretsprovider", "encryptedkey"}
OPERATIONS = {
    "up",
    "update",
    "preview",
    "pre",
    "refresh",
    "destroy",
    "down",
    "dn",
    "watch",
}
WITHOUT_SETTINGS = {"destroy", "down", "dn", "refresh"}
"""Operations that need none: a stack that has lost its file can be taken down."""
REMEMBERED = {"up", "update"}
"""Operations after which commands without ``--stack`` mean the same stack."""
NO_PLUGINS = "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"
WITH_VALUE = {"-s", "--stack", "-C", "--cwd", "--config-file", "--color", "--tracing"}


def option(arguments: Sequence[str], *names: str) -> str | None:
    """The value of an option: ``-s x``, ``-sx``, ``--stack x``, ``--stack=x``."""
    value: str | None = None
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        for name in names:
            if argument == name and index + 1 < len(arguments):
                value = arguments[index + 1]
            elif name.startswith("--") and argument.startswith(f"{name}="):
                value = argument.removeprefix(f"{name}=")
            elif (
                not name.startswith("--")
                and argument.startswith(name)
                and argument[len(name) :][:1] not in ("", "-", "=")
            ):
                value = argument.removeprefix(name)
    return value


def operation(arguments: Sequence[str]) -> str | None:
    """The first argument that is a command, not an option or an option's value."""
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in WITH_VALUE
        else:
            return argument
    return None


def project_of(folder: Path) -> Path | None:
    """The closest folder upwards that holds a ``Pulumi.yaml``."""
    for candidate in (folder, *folder.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate
    return None


def read_yaml(file: Path) -> dict[str, Any]:
    """A file's map, which may be empty.

    :raises ValueError: it is no YAML, or no map.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: no map of settings")
    return content


def settings_tree(project: Path, stack_file: Path) -> dict[str, Any]:
    """A stack's settings over the project's defaults, by name without the project's namespace."""
    about = read_yaml(project / PROJECT_FILE)
    prefix = f"{about.get('name')}:"
    tree: dict[str, Any] = {}
    for key, declared in (about.get("config") or {}).items():
        if isinstance(declared, dict) and "default" in declared:
            _put(tree, key.removeprefix(prefix), declared["default"])
    own = read_yaml(stack_file).get("config") if stack_file.is_file() else None
    for key, value in (own or {}).items():
        _put(tree, key.removeprefix(prefix), value)
    return tree


def _put(tree: dict[str, Any], path: str, value: object) -> None:
    """Set a value at a dotted path; a map goes over what is there."""
    *parents, last = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    if isinstance(value, dict) and isinstance(tree.get(last), dict):
        tree[last] = {**tree[last], **value}
    else:
        tree[last] = value


def target_of(settings: Mapping[str, Any]) -> str:
    """The target of a stack's settings."""
    return str(settings.get("target", LAB_TARGET))


def is_ours(project: Path, name: str) -> bool:
    return read_yaml(project / PROJECT_FILE).get("name") == name


def needs_copy(stack_file: Path) -> bool:
    """Whether the file is one that Pulumi would add its salt to."""
    return stack_file.is_file() and not _OWN_SECRETS & read_yaml(stack_file).keys()


def private_copy(stack_file: Path, folder: Path) -> Path:
    """A fresh copy of a stack's file, replaced whole and readable by its owner only; an empty one
    of a file that is gone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy = folder / stack_file.name
    fresh = folder / f".{stack_file.name}.{os.getpid()}.yaml"
    fresh.write_bytes(stack_file.read_bytes() if stack_file.is_file() else b"")
    fresh.replace(copy)
    return copy


def state_file(backend: str, project: str, stack: str) -> Path | None:
    """Where a file backend keeps a stack; None for other backends."""
    if not backend.startswith("file://"):
        return None
    folder = Path(backend.removeprefix("file://")).expanduser()
    return folder / ".pulumi" / "stacks" / project / f"{stack}.json"


def create_stack(
    pulumi: str | Path, project: str, stack: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Make a stack, in a scratch project that takes the salt."""
    with tempfile.TemporaryDirectory(prefix="pulumi-") as scratch:
        Path(scratch, PROJECT_FILE).write_text(f"name: {project}\nruntime: python\n")
        words = ["-C", scratch, "--non-interactive", "stack", "init", "--no-select", stack]
        return subprocess.run(
            [pulumi, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def selected_stack(pulumi: str, before: Sequence[str]) -> str | None:
    answer = subprocess.run(
        [pulumi, *before, "stack", "--show-name"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def our_project(arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Path | None:
    """The project that a command is for, where it is this one."""
    moved = option(arguments, "-C", "--cwd")
    project = project_of(cwd / moved if moved else cwd)
    if project is None or not is_ours(project, environment["CNI_BENCHMARK_PROJECT"]):
        return None
    return project


def rewritten(
    pulumi: str, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path
) -> list[str]:
    """The arguments for the real Pulumi."""
    same = list(arguments)
    asked = operation(arguments)
    if asked == "stack" and "rm" in arguments and our_project(arguments, environment, cwd):
        return [*same, "--preserve-config"]
    if asked not in OPERATIONS or "--help" in arguments or "-h" in arguments:
        return same
    if option(arguments, "--config-file") is not None:
        return same
    project = our_project(arguments, environment, cwd)
    if project is None:
        return same
    before = ["-C", str(project)]
    stack = option(arguments, "-s", "--stack")
    if stack is None:
        stack = environment.get("PULUMI_STACK") or selected_stack(pulumi, before)
        if stack is None:
            return same
    stack_file = project / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"
    gone = asked in WITHOUT_SETTINGS and not stack_file.is_file()
    if not gone and not needs_copy(stack_file):
        return same
    name = environment["CNI_BENCHMARK_PROJECT"]
    kept_in = state_file(environment.get("PULUMI_BACKEND_URL", ""), name, stack)
    if not gone and kept_in is not None and not kept_in.exists():
        create_stack(pulumi, name, stack, environment)
    if asked in REMEMBERED and option(arguments, "-s", "--stack") is not None:
        subprocess.run(
            [pulumi, *before, "stack", "select", stack],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    folder = Path(environment["CNI_BENCHMARK_STATE"]) / "stack-files"
    at = same.index(asked) + 1
    return [
        *same[:at],
        "--config-file",
        str(private_copy(stack_file, folder)),
        *same[at:],
    ]


def without_plugins(
    pulumi: str, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path
) -> dict[str, str]:
    """What keeps the real Pulumi from fetching plugins; nothing where a stack may need some."""
    if NO_PLUGINS in environment or operation(arguments) not in OPERATIONS:
        return {}
    project = our_project(arguments, environment, cwd)
    if project is None:
        return {}
    file = option(arguments, "--config-file")
    if file is None:
        stack = option(arguments, "-s", "--stack") or environment.get("PULUMI_STACK")
        stack = stack or selected_stack(pulumi, ["-C", str(project)]) or ""
        file = f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"
    if not (project / file).is_file() or not read_yaml(project / file):
        return {}  # of a stack that has lost its file nobody can say
    in_the_lab = target_of(settings_tree(project, project / file)) == LAB_TARGET
    return {NO_PLUGINS: "true"} if in_the_lab else {}


def main() -> None:
    pulumi = os.environ.get("CNI_BENCHMARK_PULUMI")
    if not pulumi:
        sys.exit('pulumi: run `eval "$(make -s env)"` first')
    arguments = sys.argv[1:]
    try:
        arguments = rewritten(pulumi, arguments, os.environ, Path.cwd())
        changes = without_plugins(pulumi, arguments, os.environ, Path.cwd())
    except (OSError, KeyError, ValueError) as error:
        print(f"pulumi: the stack's file is used as it is: {error}", file=sys.stderr)
        changes = {}
    os.execve(pulumi, [pulumi, *arguments], {**os.environ, **changes})


if __name__ == "__main__":
    main()
