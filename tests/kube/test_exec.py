"""Commands in containers: output, exit codes, time-outs, and connections that break."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kube import exec as pod_exec
from kube.client import Kube
from kube.exec import Container, Finished
from kube.objects import KubernetesError, NotStartedError, TornError
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.conftest import Connect
from tests.components.kubernetes.exec_replies import (
    Exec,
    Failed,
    Output,
    Process,
    Refused,
    Reply,
    Silence,
    Torn,
)
from tests.components.kubernetes.kube_api import KubeApi

CONTAINER = Container("cni-benchmark", "client-0", "main")


@pytest.fixture(autouse=True)
def pod(server: KubeApi) -> None:
    server.put(kube_objects.pod("client-0", "cni-benchmark", "node-1", {}, {"main": "image"}))


def _replies(server: KubeApi, *replies: Reply) -> None:
    """Each command gets the next reply."""
    remaining: Iterator[Reply] = iter(replies)
    server.handler = lambda call: next(remaining)


def _run(client: Kube, *argv: str, timeout: float = 10) -> Finished:
    return pod_exec.run(client, CONTAINER, argv or ("true",), timeout=timeout)


def test_output_and_errors_come_apart(server: KubeApi, client: Kube) -> None:
    _replies(server, Output("out\n", "err\n"))
    done = _run(client, "sh", "-c", "echo out; echo err >&2", "a b&c=d")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
    assert server.executed == [
        Exec("cni-benchmark", "client-0", "main", ("sh", "-c", "echo out; echo err >&2", "a b&c=d"))
    ]


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_programs_own_code_is_a_result(server: KubeApi, client: Kube, code: int) -> None:
    _replies(server, Output("some", "no", code=code))
    done = _run(client)
    assert (done.returncode, done.stdout, done.stderr) == (code, "some", "no")


def test_a_large_output_in_small_pieces_is_whole(server: KubeApi, client: Kube) -> None:
    # A request log: a line for each request, many of them a message of their own.
    lines = "".join(f'{{"latency":{i / 1e6:.6f},"ok":true,"µ":"é"}}\n' for i in range(100_000))
    # 4,093 is prime: letters of two bytes are cut in the middle.
    _replies(server, Output(lines, piece=4093), Output(lines, piece=211))
    assert _run(client, timeout=60).stdout == lines
    start = time.monotonic()
    assert _run(client, timeout=60).stdout == lines
    assert time.monotonic() - start < 30


def test_output_that_is_no_text_is_unchanged(server: KubeApi, client: Kube) -> None:
    data = bytes(range(256)) * 1000
    _replies(server, Output(data, piece=1009))
    assert _run(client).output == data


# -- standard input -------------------------------------------------------------------------------


def test_a_command_gets_its_standard_input(server: KubeApi, client: Kube) -> None:
    data = random.Random(1).randbytes(3_000_001)
    server.handler = lambda call: Process(call.argv)
    argv = ["sh", "-c", f"head -c {len(data)}; echo read >&2; exit 3"]
    done = pod_exec.run(client, CONTAINER, argv, timeout=20, stdin=data)
    assert (done.output, done.stderr, done.returncode) == (data, "read\n", 3)
    assert "stdin=true" in server.requests[-1][1]


def test_no_standard_input_is_asked_for_where_there_is_none(server: KubeApi, client: Kube) -> None:
    _run(client)
    assert "stdin" not in server.requests[-1][1]


def test_standard_input_has_no_end(server: KubeApi, client: Kube) -> None:
    server.handler = lambda call: Process(call.argv)
    with pytest.raises(TornError, match=r"`cat` had not ended"):
        pod_exec.run(client, CONTAINER, ["cat"], timeout=0.5, stdin=b"x")


def test_a_command_may_end_before_it_has_read_everything(server: KubeApi, client: Kube) -> None:
    server.handler = lambda call: Process(call.argv)
    argv = ["sh", "-c", "echo full >&2; exit 1"]
    done = pod_exec.run(client, CONTAINER, argv, timeout=10, stdin=bytes(1_000))
    assert (done.returncode, done.stderr) == (1, "full\n")


def test_a_connection_that_breaks_while_input_is_sent(server: KubeApi, client: Kube) -> None:
    _replies(server, Torn())
    with pytest.raises(TornError, match="`cat`: the connection"):
        pod_exec.run(client, CONTAINER, ["cat"], timeout=10, stdin=bytes(20_000_000))


def test_a_command_that_takes_no_input_is_bounded(server: KubeApi, client: Kube) -> None:
    server.handler = lambda call: Process(call.argv)
    start = time.monotonic()
    with pytest.raises(TornError, match=r"`sleep 30` had not ended after 1 s"):
        pod_exec.run(client, CONTAINER, ["sleep", "30"], timeout=1, stdin=bytes(60_000_000))
    assert time.monotonic() - start < 4


def test_time_is_that_of_the_command(server: KubeApi, client: Kube) -> None:
    _replies(server, Refused(503, "not now"), Output("", seconds=0.4))
    start = time.monotonic()
    done = _run(client)
    assert 0.4 <= done.seconds < time.monotonic() - start


# -- what surely did not start is tried again -----------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_refused_stream_is_tried_again(server: KubeApi, client: Kube, status: int) -> None:
    _replies(server, *[Refused(status, "error dialing backend: EOF")] * 2, Output("at last"))
    assert _run(client).stdout == "at last"
    assert len(server.executed) == 3


def test_it_is_tried_a_bounded_number_of_times(server: KubeApi, client: Kube) -> None:
    server.handler = lambda call: Refused(500, "error dialing backend: EOF")
    with pytest.raises(
        NotStartedError, match=r"client-0 \(main\).*500: error dialing backend: EOF"
    ):
        _run(client, timeout=30)
    assert len(server.executed) == 5


def test_all_attempts_are_within_the_time(server: KubeApi, client: Kube) -> None:
    server.handler = lambda call: Refused(503, "not now")
    start = time.monotonic()
    with pytest.raises(NotStartedError):
        _run(client, timeout=0.3)
    assert time.monotonic() - start < 2


def test_a_pod_that_is_not_there_is_not_tried_again(server: KubeApi, client: Kube) -> None:
    with pytest.raises(NotStartedError, match='404: pods "client-1" not found'):
        pod_exec.run(client, Container("cni-benchmark", "client-1", "main"), ["true"], timeout=5)
    assert len(server.requests) == 1


def test_no_server_at_all(connect: Connect) -> None:
    with KubeApi().serving() as gone:
        client = connect(gone)
    with pytest.raises(NotStartedError, match="Connection refused"):
        _run(client, timeout=1)


def test_a_program_that_is_not_in_the_image(server: KubeApi, client: Kube) -> None:
    words = (
        "error executing command in container: failed to exec in container: failed to start exec: "
        'OCI runtime exec failed: exec failed: unable to start container process: exec: "timeout": '
        "executable file not found in $PATH: unknown"
    )
    _replies(server, Failed(f"Internal error occurred: {words}"))
    with pytest.raises(NotStartedError, match="executable file not found"):
        _run(client)
    assert len(server.executed) == 1


# -- what may have started is not ---------------------------------------------------------------


@pytest.mark.parametrize("politely", [True, False])
def test_a_connection_that_ends_before_the_command(
    server: KubeApi, client: Kube, politely: bool
) -> None:
    _replies(server, Torn("half a res", politely=politely))
    with pytest.raises(TornError, match=r"client-0 \(main\): `fortio load`: the connection"):
        _run(client, "fortio", "load")
    assert len(server.executed) == 1


def test_an_error_shows_a_script_in_one_line(server: KubeApi, client: Kube) -> None:
    _replies(server, Torn())
    with pytest.raises(TornError, match=r"`sh -c echo a; echo a;.* …`: the connection") as error:
        _run(client, "sh", "-c", "echo a;\n" * 100)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


def test_a_status_without_a_code_says_nothing_of_the_command(server: KubeApi, client: Kube) -> None:
    _replies(server, Failed("error reading from error stream: next reader: EOF"))
    with pytest.raises(TornError, match="error reading from error stream"):
        _run(client)
    assert len(server.executed) == 1


def test_a_command_that_does_not_end(server: KubeApi, client: Kube) -> None:
    _replies(server, Silence(30))
    start = time.monotonic()
    with pytest.raises(TornError, match="had not ended after 0 s"):
        _run(client, timeout=0.4)
    assert time.monotonic() - start < 2


def test_a_command_that_never_stops_talking_is_bounded_too(server: KubeApi, client: Kube) -> None:
    _replies(server, Output("x" * 40_000_000, piece=100))
    start = time.monotonic()
    with pytest.raises(TornError):
        _run(client, timeout=0.5)
    assert time.monotonic() - start < 3


def test_every_error_is_one_of_the_clusters(server: KubeApi, client: Kube) -> None:
    for reply in (Torn(), Failed("x"), Refused(403, "no"), Silence(9)):
        _replies(server, reply)
        with suppress(KubernetesError):
            _run(client, timeout=0.3)
            raise AssertionError(f"{reply} was a result")
