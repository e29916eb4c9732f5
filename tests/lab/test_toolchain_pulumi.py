"""The environment of plain pulumi commands: the user's own login is respected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.toolchain import launcher, pulumi
from lab.toolchain.bootstrap import PythonEnv
from lab.toolchain.build import Builder
from lab.toolchain.cache import Cache
from lab.toolchain.pulumi import Engine

STACK_FILE = "config:\n  cni-benchmark:target: lab\n"


def of(home: Path, **variables: str) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(home / "state"), "PULUMI_HOME": str(home)} | variables


def test_without_a_login_a_folder_and_a_passphrase_of_our_own(tmp_path: Path) -> None:
    environment = of(tmp_path)
    found = pulumi.find_login(environment)
    assert found.ours
    assert found.backend == f"file://{tmp_path}/state/cni-benchmark/pulumi"
    pulumi.prepare(found, environment)
    secret = Path(found.exports["PULUMI_CONFIG_PASSPHRASE_FILE"])
    first = secret.read_text()
    assert len(first) > 20
    assert secret.stat().st_mode & 0o077 == 0
    pulumi.prepare(found, environment)
    assert secret.read_text() == first


def test_our_own_exports_are_not_taken_for_a_login(tmp_path: Path) -> None:
    environment = of(tmp_path)
    first = pulumi.find_login(environment)
    assert pulumi.find_login(environment | first.exports) == first


@pytest.mark.parametrize(
    ("variables", "backend"),
    [
        ({"PULUMI_BACKEND_URL": "s3://bucket"}, "s3://bucket"),
        ({"PULUMI_ACCESS_TOKEN": "x"}, "https://api.pulumi.com"),
    ],
)
def test_login_in_the_environment_is_kept(
    tmp_path: Path, variables: dict[str, str], backend: str
) -> None:
    found = pulumi.find_login(of(tmp_path, **variables))
    assert (found.backend, found.ours, found.exports) == (backend, False, {})


@pytest.mark.parametrize(
    ("stored", "ours"),
    [('{"current": "https://api.pulumi.com"}', False), ("{}", True), ("", True), ("\x00", False)],
)
def test_stored_login_is_kept(tmp_path: Path, stored: str, ours: bool) -> None:
    (tmp_path / "credentials.json").write_text(stored)
    assert pulumi.find_login(of(tmp_path)).ours is ours


def test_backend_of_the_project_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.yaml"
    file.write_text("name: x\nbackend:\n  url: gs://bucket\n")
    assert pulumi.find_login(of(tmp_path), file).backend == "gs://bucket"


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
def test_passphrase_of_the_user_is_kept(tmp_path: Path, name: str) -> None:
    found = pulumi.find_login(of(tmp_path, **{name: "mine"}))
    assert list(found.exports) == ["PULUMI_BACKEND_URL"]


def test_exports_survive_any_posix_shell() -> None:
    variables = {"A": "it's", "B": 'a b; $HOME `id` "q" \\', "C": "line\nline"}
    script = pulumi.as_exports(variables) + 'printf "%s|" "$A" "$B" "$C"'
    told = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "".join(f"{value}|" for value in variables.values())


def environment_for(tmp_path: Path, backend: str, *, ours: bool) -> dict[str, str]:
    cache = Cache(tmp_path / "cache")
    (tmp_path / "requirements.txt").write_text("")
    return pulumi.changes(
        Builder(tmp_path / "tools", cache),
        PythonEnv(tmp_path, cache),
        Engine(tmp_path / "cache" / "pulumi-bin-x" / "pulumi", ours=ours),
        pulumi.Login(backend, ours=False, exports={}),
        "cni-benchmark",
        {"PATH": f"{tmp_path}/cache/old:/usr/bin", "HOME": str(tmp_path)},
    )


def test_path_has_the_environment_first_and_nothing_stale(tmp_path: Path) -> None:
    found = environment_for(tmp_path, "file:///x", ours=True)
    folders = found["PATH"].split(":")
    assert folders[0].endswith("/bin")
    assert (Path(folders[1]) / "pulumi").stat().st_mode & 0o100
    assert folders[2:] == [f"{tmp_path}/cache/pulumi-bin-x", "/usr/bin"]
    # The launcher says so for the stacks that can do without plugins.
    assert launcher.NO_PLUGINS not in found


def test_own_pulumi_with_a_cloud_login_runs_as_it_is(tmp_path: Path) -> None:
    found = environment_for(tmp_path, "https://api.pulumi.com", ours=False)
    assert found["PATH"].split(":")[1:] == ["/usr/bin"]
    assert set(found) == {"PATH", "VIRTUAL_ENV", "PULUMI_SKIP_UPDATE_CHECK"}


def test_our_pulumi_on_path_is_not_the_users(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for folder in (tmp_path / "cache" / "pulumi-bin-x", tmp_path / "usr"):
        folder.mkdir(parents=True)
        (folder / "pulumi").touch(mode=0o755)
    ours = f"{tmp_path}/cache/pulumi-bin-x"
    assert pulumi.own_pulumi(cache, {"PATH": ours}) is None
    assert pulumi.own_pulumi(cache, {"PATH": f"{ours}:{tmp_path}/usr"}) == tmp_path / "usr/pulumi"


def test_stacks_that_are_missing(tmp_path: Path) -> None:
    found = pulumi.Login(f"file://{tmp_path}", ours=True, exports={})
    file = launcher.state_file(found.backend, "cni-benchmark", "scenario-a")
    assert file is not None
    file.parent.mkdir(parents=True)
    file.touch()
    names = ["scenario-a", "scenario-b"]
    assert pulumi.missing_stacks(found, "cni-benchmark", names, tmp_path, {}) == ["scenario-b"]


class Project:
    """A checkout with one scenario, and a Pulumi that notes what it was asked."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "checkout"
        (self.folder / "deep").mkdir(parents=True)
        (self.folder / "Pulumi.yaml").write_text("name: cni-benchmark\nruntime: python\n")
        self.file = self.folder / "Pulumi.scenario-e.yaml"
        self.file.write_text(STACK_FILE)
        self.log = root / "log"
        self.log.touch()
        self.pulumi = root / "pulumi"
        self.pulumi.write_text(f'#!/bin/sh\necho "$@" >> {self.log}\necho scenario-e\n')
        self.pulumi.chmod(0o755)
        self.environment = {
            "CNI_BENCHMARK_PROJECT": "cni-benchmark",
            "CNI_BENCHMARK_STATE": str(root / "state"),
            "PULUMI_BACKEND_URL": f"file://{root}/backend",
        }
        self.copy = str(root / "state" / "stack-files" / "Pulumi.scenario-e.yaml")

    def run(self, *arguments: str, folder: str = ".") -> list[str]:
        where = self.folder / folder
        return launcher.rewritten(str(self.pulumi), arguments, self.environment, where)

    def fetches_plugins(self, *arguments: str) -> bool:
        kept = launcher.without_plugins(
            str(self.pulumi), self.run(*arguments), self.environment, self.folder
        )
        assert kept in ({}, {launcher.NO_PLUGINS: "true"})
        return not kept


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("stack", [["-s", "scenario-e"], ["-sscenario-e"], ["--stack=scenario-e"]])
@pytest.mark.parametrize("folder", [".", "deep"])
def test_operations_get_a_private_copy(project: Project, stack: list[str], folder: str) -> None:
    found = project.run("--non-interactive", "up", *stack, "--yes", folder=folder)
    asked = ["--non-interactive", "up", "--config-file", project.copy, *stack, "--yes"]
    assert found == asked
    assert Path(project.copy).read_text() == STACK_FILE


def test_a_stack_without_a_file_can_be_taken_down(project: Project) -> None:
    copy = project.copy.replace("scenario-e", "gone")
    found = project.run("destroy", "-s", "gone")
    assert found == ["destroy", "--config-file", copy, "-s", "gone"]
    assert Path(copy).read_bytes() == b""
    assert project.log.read_text() == "", "a stack was made"
    assert not (project.folder / "Pulumi.gone.yaml").exists()
    # What it has may be in a cloud.
    assert project.fetches_plugins("destroy", "-s", "gone")
    assert project.run("refresh", "-s", "gone") == ["refresh", "--config-file", copy, "-s", "gone"]
    assert project.run("up", "-s", "gone") == ["up", "-s", "gone"]


def test_up_makes_the_stack_and_selects_it(project: Project) -> None:
    project.run("up", "-s", "scenario-e")
    made, selected = project.log.read_text().splitlines()
    assert made.endswith("--non-interactive stack init --no-select scenario-e")
    assert str(project.folder) not in made
    assert selected == f"-C {project.folder} stack select scenario-e"


def test_without_a_stack_the_selected_one_is_taken(project: Project) -> None:
    assert project.run("destroy", "--yes") == ["destroy", "--config-file", project.copy, "--yes"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["stack", "output", "results"],
        ["config", "set", "-s", "scenario-e", "a", "b"],
        ["up", "--help"],
        ["up", "-s", "scenario-e", "--config-file", "mine.yaml"],
        ["up", "-s", "unknown"],
        [],
    ],
)
def test_everything_else_goes_through(project: Project, arguments: list[str]) -> None:
    assert project.run(*arguments) == arguments


@pytest.mark.parametrize("line", ["encryptionsalt: v1:x", "secretsprovider: awskms://x"])
def test_secrets_of_the_users_choice_are_kept(project: Project, line: str) -> None:
    project.file.write_text(f"{STACK_FILE}{line}\n")
    assert project.run("up", "-s", "scenario-e") == ["up", "-s", "scenario-e"]


def test_another_project_is_left_alone(project: Project) -> None:
    (project.folder / "Pulumi.yaml").write_text("name: other\n")
    assert project.run("up", "-s", "scenario-e") == ["up", "-s", "scenario-e"]


def test_removing_a_stack_keeps_its_file(project: Project) -> None:
    assert project.run("stack", "rm", "scenario-e")[-1] == "--preserve-config"


@pytest.mark.parametrize("arguments", [["up", "-s", "scenario-e"], ["preview"], ["destroy"]])
@pytest.mark.parametrize(
    ("line", "fetches"),
    [
        ("", False),
        ("  cni-benchmark:target: lab", False),
        ("  # cni-benchmark:target: eks", False),
        ("  cni-benchmark:target: eks", True),
        ('  "cni-benchmark:target": "kubeconfig"', True),
        ("  cni-benchmark:target: eks\nencryptionsalt: v1:x", True),
    ],
)
def test_plugins_are_for_stacks_outside_the_lab(
    project: Project, arguments: list[str], line: str, fetches: bool
) -> None:
    project.file.write_text(f"config:\n{line}\n")
    assert project.fetches_plugins(*arguments) is fetches


def test_plugins_that_are_asked_for_are_fetched(project: Project) -> None:
    assert project.fetches_plugins("install")
    assert project.fetches_plugins("plugin", "install", "resource", "aws", "7.51.1")


def test_another_projects_plugins_are_its_own(project: Project) -> None:
    (project.folder / "Pulumi.yaml").write_text("name: other\n")
    assert project.fetches_plugins("up", "-s", "scenario-e")


@pytest.mark.parametrize("value", ["false", "true"])
def test_the_users_word_on_plugins_holds(project: Project, value: str) -> None:
    project.environment[launcher.NO_PLUGINS] = value
    # Nothing is put in its place.
    assert project.fetches_plugins("up", "-s", "scenario-e")


def test_the_launcher_runs_by_itself_on_the_environments_python(project: Project) -> None:
    folder = pulumi.launcher_folder(Cache(project.folder.parent / "ca che"), Path(sys.executable))
    done = subprocess.run(
        [folder / "pulumi", "up", "-s", "scenario-e"],
        env={**project.environment, "CNI_BENCHMARK_PULUMI": str(project.pulumi), "PATH": "/bin"},
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    last = project.log.read_text().splitlines()[-1]
    assert last == f"up --config-file {project.copy} -s scenario-e"
