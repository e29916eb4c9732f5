"""Known truth: the arithmetic of the wire, the judgements, the slow server."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from bench.probes.base import Bench
from bench.session import resolve_targets
from studies.validate import slow_server
from studies.validate.testbed import (
    Link,
    LossCount,
    MissingSampleError,
    Recorder,
    at_path,
    probe_named,
    take,
)
from studies.validate.truth import deviation, judge_loss
from tests.bench.fakes import PLAN, FakeSession, failing


def test_payload_on_the_wire_by_hand() -> None:
    plain, vxlan = Link(9001, 0), Link(8951, 50)
    # 9001 less IP 20, TCP 20, timestamps 12, in a frame of 9001 + 14.
    assert plain.tcp_share() == pytest.approx(8949 / 9015)
    assert vxlan.tcp_share() == pytest.approx(8899 / 9015)
    assert plain.udp_share(8949) == pytest.approx(8949 / 8991)
    assert vxlan.udp_share(100) == pytest.approx(100 / 192)


def test_loss_counts_are_of_what_happened_in_between() -> None:
    assert LossCount(10, 3, 2) - LossCount(4, 1, 1) == LossCount(6, 2, 1)
    assert LossCount() + LossCount(6, 2, 1) == LossCount(6, 2, 1)


@pytest.mark.parametrize(
    ("samples", "passed"),
    [([0.97, 1.0, 1.02], True), ([0.9, 0.969, 1.5], False), ([1.031, 1.04, 1.0], False)],
)
def test_the_median_counts_against_the_truth(samples: list[float], passed: bool) -> None:
    check, found = deviation("rate", 1.0, samples, "Gbit/s", 3.0, "because")
    assert check.passed is passed
    assert found.errors() == pytest.approx([100 * (value - 1) for value in samples])
    assert "within 3 %: because" in check.expectation


def test_loss_has_to_be_what_chance_and_the_kernel_make_it() -> None:
    total = LossCount(seen=20_000, dropped=210, overflowed=0)
    by_chance, by_count = (check for check, _ in judge_loss(0.01, total, [1.0, 1.05, 1.1]))
    assert by_chance.passed  # 1.05 against 1 ± 0.23
    assert by_count.passed


def test_loss_that_the_probe_does_not_see_is_found() -> None:
    total = LossCount(seen=20_000, dropped=210, overflowed=0)
    checks = [check for check, _ in judge_loss(0.01, total, [0.0, 0.0, 0.0])]
    assert [check.passed for check in checks] == [False, False]


def test_a_loss_that_was_not_imposed_is_no_truth() -> None:
    with pytest.raises(MissingSampleError, match="the kernel dropped none of 20000"):
        judge_loss(0.01, LossCount(seen=20_000), [0.0])


def test_loss_to_a_full_buffer_is_told_apart_from_the_imposed_one() -> None:
    total = LossCount(seen=20_000, dropped=200, overflowed=400)
    checks = [check for check, _ in judge_loss(0.01, total, [3.0, 3.0])]
    assert [check.passed for check in checks] == [True, True]
    assert "2.00 % more were lost to a full socket buffer" in checks[0].remarks[0]
    unexplained = [check for check, _ in judge_loss(0.01, replace(total, overflowed=0), [3.0])]
    assert [check.passed for check in unexplained] == [False, False]


def test_a_probe_without_a_number_is_told_with_its_reason(session: FakeSession) -> None:
    bench = Bench(session, resolve_targets(session), session.time.clock())
    session.spoil["iperf3-tcp"] = [failing("gone")] * PLAN.attempts
    with pytest.raises(MissingSampleError, match="tcp: gone"):
        take(probe_named("tcp", PLAN), bench, PLAN)
    assert take(probe_named("tcp", PLAN), bench, PLAN).values["tcp_streams_throughput"] > 0


def test_requests_can_be_sent_to_another_path(session: FakeSession) -> None:
    pod = session.pods("fortio-client")[0]
    slow = at_path(session, "/get", "/delay")
    slow.run(pod, ["fortio", "load", "-c", "1", "http://10.0.0.1:80/get"], timeout=9)
    assert session.calls[-1][1][-1] == "http://10.0.0.1:80/delay"
    assert slow.service("httpbin") == session.service("httpbin")
    with pytest.raises(ValueError, match="no request to /get"):
        slow.run(pod, ["fortio", "version"], timeout=9)


def test_a_recorder_has_the_last_result_of_a_command(session: FakeSession) -> None:
    recorder = Recorder(session)
    argv = ["iperf3", "--version"]
    with pytest.raises(ValueError, match="not run"):
        recorder.last(argv)
    pod = session.pods("iperf3-client")[0]
    told = recorder.session.run(pod, argv, timeout=9)
    recorder.session.run(session.pods("fortio-client")[0], ["fortio", "version"], timeout=9)
    assert recorder.last(argv) is told


# -- the slow server ----------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[int]:
    """The slow server on loopback, with 20 ms; ended by the test or afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-I", "-S", slow_server.__file__, str(free), "0.02"],
        stdout=subprocess.PIPE,
        text=True,
    )
    _servers[free] = server
    try:
        _wait(free)
        yield free
    finally:
        server.kill()
        server.communicate()


_servers: dict[int, subprocess.Popen[str]] = {}


def _wait(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError("the slow server did not start")


def _get(connection: http.client.HTTPConnection, path: str) -> float:
    start = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"ok")
    return time.perf_counter() - start


def test_the_slow_server_waits_where_it_is_asked_to_and_notes_how_long(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    at_once = sorted(_get(connection, "/get") for _ in range(9))[4]
    late = [_get(connection, "/delay") for _ in range(3)]
    assert at_once < 0.01
    assert min(late) >= 0.02
    _get(connection, "/end")
    printed, _ = _servers[port].communicate(timeout=5)
    waits = json.loads(printed)
    assert len(waits) == 3
    for wait, seen in zip(waits, late, strict=True):
        assert 20_000 <= wait <= 1e6 * seen


def test_the_slow_server_takes_requests_in_pieces_and_several_at_once(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nHost")
        time.sleep(0.05)
        connection.sendall(b": x\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
        text = b""
        while text.count(b"ok") < 2:
            text += connection.recv(4096)
    assert text.count(b"HTTP/1.1 200 OK") == 2
