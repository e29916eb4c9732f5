"""The sandbox is found by its own process alone, and commands get into it as they are."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from lab import cgroups, machine
from lab.errors import CommandError, LabError
from lab.sandbox import (
    INIT,
    LabPaths,
    Place,
    Process,
    Sandbox,
    environment,
    only_one,
    refuse_hidden,
    state_root,
)
from lab.wait import until

ID = "pytest-0a1b2c3d"
INIT_PID = 4321

Start = Callable[[Sequence[str]], int]


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(LabPaths(ID, tmp_path / ID))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Pythons of any command line, which end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def one(argv: Sequence[str]) -> int:
        process = subprocess.Popen([sys.executable, *argv], stdin=subprocess.PIPE)
        started.append(process)
        # The kernel fills the command line in only while the new program is being set up.
        shown = Path(f"/proc/{process.pid}/cmdline")
        until("its command line", lambda: None if shown.read_bytes() else "empty", timeout=10)
        return process.pid

    yield one
    for process in started:
        process.kill()
        process.communicate()


# -- finding it -------------------------------------------------------------------------------


def test_a_lab_that_does_not_run_is_not_found(sandbox: Sandbox) -> None:
    assert not sandbox.alive()
    with pytest.raises(LabError, match=rf"the lab {ID} is not running\. Fix: pulumi refresh"):
        _ = sandbox.init_pid


# What other people's processes may look like: an editor, a search or a test of that very file.
WAITS = "input()"
FOREIGN = [
    ["-c", WAITS, "-S", "lab/init.py", ID],
    ["-c", WAITS, "lab/init.py", ID],
    ["-c", WAITS, str(INIT), ID],
    ["-c", WAITS, str(INIT), ID, "more"],
    ["-I", "-S", str(INIT), f"{ID}1"],
    ["-I", "-S", str(INIT), ID[:-1]],
    # Run by hand it is no process 1: ending it would end nothing else, so it is not ours to end.
    ["-I", "-S", str(INIT), ID],
]


@pytest.mark.parametrize("argv", FOREIGN)
def test_a_process_that_only_looks_alike_is_nobodys_sandbox(
    sandbox: Sandbox, start: Start, argv: list[str]
) -> None:
    pid = start(argv)
    assert not sandbox._is_init(pid)
    assert not sandbox.alive()


def test_this_process_and_nonsense_are_no_sandbox(sandbox: Sandbox) -> None:
    assert not sandbox._is_init(os.getpid())
    assert not sandbox._is_init(2**30)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that any user may read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
@pytest.mark.parametrize("user", [0, 65534])
def test_another_users_process_is_no_sandbox(sandbox: Sandbox, readable: Path, user: int) -> None:
    init = readable / "lab" / "init.py"
    init.parent.mkdir()
    init.write_text("input()")
    argv = ["unshare", "--pid", "--fork", "--kill-child"]
    argv += ["setpriv", f"--reuid={user}", "--clear-groups"]
    argv += [sys.executable, "-I", "-S", str(init), ID]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        try:
            until("its Python", lambda: None if _python(process.pid) else "none", timeout=10)
            assert sandbox.alive() is (user == 0)
        finally:
            process.kill()


def _python(pid: int) -> bool:
    """Whether a child of a process runs Python by now."""
    children = psutil.Process(pid).children()
    return any(child.cmdline()[:1] == [sys.executable] for child in children)


# -- entering it ------------------------------------------------------------------------------


@pytest.fixture
def entered(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox that seems to run, and an `nsenter` that prints its words and what follows `--`."""
    monkeypatch.setattr(Sandbox, "init_pid", property(lambda self: INIT_PID))
    folder = sandbox.paths.root
    folder.mkdir(parents=True)
    nsenter = folder / "nsenter"
    nsenter.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != -- ]; do printf "%s\\n" "$1"; shift; done\n'
        'shift; echo --; exec "$@"\n'
    )
    nsenter.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return sandbox


def test_the_default_place_is_the_sandboxs_own_namespaces(entered: Sandbox) -> None:
    words, _, rest = entered.run(["echo", "there"]).stdout.partition("--\n")
    assert rest == "there\n"
    assert {f"--{kind}=/proc/{INIT_PID}/ns/{kind}" for kind in ("net", "mnt", "pid")} >= {
        word.replace("--mount", "--mnt").replace("ns/mount", "ns/mnt") for word in words.split()
    }


def test_a_place_names_its_network_and_its_holders_mounts(entered: Sandbox) -> None:
    place = Place(netns="node-1", holder=17)
    words = entered.run(["true"], place).stdout.split()
    assert f"--net=/proc/{INIT_PID}/root/run/netns/node-1" in words
    # The holder's PID is one of the sandbox's, so it is looked up in the sandbox's /proc.
    assert f"--mount=/proc/{INIT_PID}/root/proc/17/ns/mnt" in words
    assert f"--pid=/proc/{INIT_PID}/ns/pid" in words


def test_the_users_environment_stays_outside(
    entered: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "GOMAXPROCS", "GODEBUG", "LD_PRELOAD", "LANG", "LC_NUMERIC"):
        monkeypatch.setenv(name, "")
    told = entered.run(["env"], env={"ASKED": "1"}).stdout.partition("--\n")[2]
    names = {line.partition("=")[0] for line in told.splitlines()}
    assert names - {"PWD", "SHLVL", "_"} <= {"PATH", "HOME", "TMPDIR", "LC_ALL", "ASKED"}
    assert {"PATH", "LC_ALL", "ASKED"} <= names
    assert environment()["LC_ALL"] == "C.UTF-8"


def test_the_cgroup_is_joined_first_and_any_words_arrive_as_they_are(
    entered: Sandbox, tmp_path: Path
) -> None:
    cgroup = tmp_path / "it's a cgroup"
    cgroup.mkdir()
    awkward = ["a b", "", "$HOME", "it's", '"', "-n", "--", "*"]
    argv = [sys.executable, "-c", "import sys; print(sys.argv[1:])", *awkward]
    done = entered.run(argv, Place(cgroup=cgroup))
    assert done.stdout.splitlines()[-1] == str(awkward)
    assert (cgroup / "cgroup.procs").read_text() == "0\n"


def test_a_command_runs_on_its_places_cpus(entered: Sandbox) -> None:
    (cpu, *_) = os.sched_getaffinity(0)
    argv = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
    assert entered.run(argv, Place(cpus=(cpu,))).stdout.splitlines()[-1] == f"{{{cpu}}}"
    everywhere = entered.run(argv, Place()).stdout.splitlines()[-1]
    assert everywhere == str(os.sched_getaffinity(0))


def test_a_cgroup_that_cannot_be_joined_is_an_error_not_another_place(
    entered: Sandbox, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="none"):
        entered.run(["echo", "there"], Place(cgroup=tmp_path / "none"))


def test_a_failed_command_is_told_with_its_own_words_only(entered: Sandbox) -> None:
    argv = ["sh", "-c", "echo out; echo 'no such device' >&2; exit 3"]
    with pytest.raises(CommandError) as caught:
        entered.run(argv)
    assert caught.value.returncode == 3
    assert str(caught.value).endswith("ended with 3: no such device")
    assert "nsenter" not in str(caught.value)
    assert entered.run(argv, check=False).returncode == 3


def test_input_environment_and_bytes_that_are_no_text(entered: Sandbox) -> None:
    argv = ["sh", "-c", "cat; printf \"$WORD\"; printf '\\377'"]
    done = entered.run(argv, stdin="given ", env={"WORD": "kept"})
    assert done.stdout.partition("--\n")[2] == "given kept\ufffd"


@pytest.fixture
def terminal() -> Iterator[None]:
    """This process's standard input, on which something has been typed."""
    read, write = os.pipe()
    os.write(write, b"typed\n")
    os.close(write)
    kept = os.dup(0)
    os.dup2(read, 0)
    yield
    os.dup2(kept, 0)
    for number in (read, kept):
        os.close(number)


@pytest.mark.usefixtures("terminal")
def test_nothing_is_read_from_the_terminal(entered: Sandbox) -> None:
    assert entered.run(["cat"]).stdout.partition("--\n")[2] == ""


def test_a_command_without_an_end_is_told(entered: Sandbox) -> None:
    with pytest.raises(CommandError, match=r"`sleep 600` ended with -9: killed"):
        entered.run(["sleep", "600"], timeout=0.3)


def test_a_script_stops_at_its_first_error(entered: Sandbox) -> None:
    with pytest.raises(CommandError):
        entered.script("false\necho not reached")


def test_a_pid_file_alone_is_no_process(entered: Sandbox) -> None:
    entered.paths.make()
    assert entered.pid_of("etcd") is None
    for text in ("", "no number", "4194305"):
        (entered.paths.pids / "etcd").write_text(text)
        assert entered.pid_of("etcd") is None


def test_who_waits_is_told_at_once_of_what_has_ended(
    entered: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered.paths.make()
    monkeypatch.setattr(Sandbox, "proc", lambda self, pid: Path("/proc") / str(pid))
    (entered.paths.pids / "kube-apiserver").write_text(str(os.getpid()))
    (entered.paths.pids / "etcd").write_text("4194305")
    entered.paths.log("etcd").write_text("no space left on device\n")
    entered.must_run("kube-apiserver")
    with pytest.raises(LabError, match=r"etcd ended; last lines of .*\nno space left on device"):
        entered.must_run("kube-apiserver", "etcd")


@pytest.mark.parametrize(("state", "told"), [("S", "S"), ("T", "T"), ("Z", ""), ("X", "")])
def test_processes_are_told_by_state_and_start(
    entered: Sandbox, monkeypatch: pytest.MonkeyPatch, state: str, told: str
) -> None:
    entered.paths.make()
    (entered.paths.pids / "etcd").write_text("12\n")
    (entered.paths.pids / "beginning").write_text("")
    monkeypatch.setattr(Sandbox, "proc", lambda self, pid: entered.paths.root / "proc" / str(pid))
    proc = entered.proc(12)
    proc.mkdir(parents=True)
    (proc / "stat").write_text(f"12 (a) b) {state} " + " ".join(map(str, range(4, 40))))
    assert entered.processes() == {"etcd": Process("22", told)}
    (proc / "cgroup").write_text("0::/of-another\n")
    frozen = {cgroups.hierarchy() / "of-a-lab"}
    monkeypatch.setattr(cgroups, "frozen", lambda lab_id: frozen)
    assert not entered.processes()["etcd"].frozen
    (proc / "cgroup").write_text("0::/of-a-lab\n")
    assert entered.processes()["etcd"].frozen == bool(told)
    assert entered.pid_of("etcd") == (12 if told else None)
    entered.forget("etcd")
    assert entered.processes() == {}


# -- its files --------------------------------------------------------------------------------


def test_labs_are_kept_where_the_user_keeps_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_root() == tmp_path / "cni-benchmark" / "labs"
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert state_root() == Path("/home/someone/.local/state/cni-benchmark/labs")


def test_two_labs_share_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = LabPaths.of("a-1"), LabPaths.of("a-2")
    one.make()
    one.make()
    assert one.logs.is_dir()
    assert not other.root.exists()
    assert one.root not in (other.root, *other.root.parents)


def test_labs_of_one_id_are_one_users_at_a_time_whatever_their_folders_of_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(machine.LOCK, str(tmp_path / "machine.lock"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "one"))
    with only_one("ablation-base", "ablation"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
        refused = pytest.raises(LabError, match="another ablation runs on this machine")
        with refused, only_one("ablation-base", "ablation"):
            pass
        with only_one("validation", "validation"):
            pass
    (lock,) = tmp_path.glob("*ablation-base.lock")
    lock.unlink()
    (tmp_path / "elsewhere").touch()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabError, match="cannot be used"), only_one("ablation-base", "ablation"):
        pass


@pytest.mark.parametrize(
    "place", ["/run/user/0/labs", "/var/run/x", "/var/lib/labs", "/sys", "/proc/1"]
)
def test_a_place_that_the_lab_covers_with_its_own_is_refused(place: str) -> None:
    with pytest.raises(LabError, match=rf"{place.removeprefix('/var')} is below|{place} is below"):
        refuse_hidden([Path("/home"), Path(place)])


def test_a_link_does_not_hide_where_a_place_really_is(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to("/var/lib")
    with pytest.raises(LabError, match="XDG_STATE_HOME"):
        refuse_hidden([tmp_path / "state" / "labs"])
    refuse_hidden([tmp_path, Path("/runner"), Path("/var/library")])
