"""The validation's lab: what is imposed is there, is taken away, and nothing stays behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bench.session import CommandResult, SessionError
from bench.workloads import DNS_SERVICE
from components.lab.validation import ValidationLabError, lab_of, validation_labs
from lab.sandbox import Place
from studies.validate.testbed import ValidationTestbed
from tests.lab.leftovers import Footprint, Host

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_host")]


@pytest.fixture(scope="module")
def lab() -> Iterator[ValidationTestbed]:
    """A running lab, and everything of it gone afterwards."""
    host = Host.now()
    with validation_labs(lambda line: None) as labs, labs.bring_up("a") as running:
        footprint = Footprint.of(lab_of("a"))
        yield running["a"]
    footprint.wait_until_gone()
    assert Host.now() == host
    assert not lab_of("a").paths.root.exists()


def transfer(lab: ValidationTestbed, *options: str, timeout: float = 20) -> CommandResult:
    client, server = (lab.session.pods(f"iperf3-{side}")[0] for side in ("client", "server"))
    argv = ["iperf3", "-c", server.ip, "-t", "1", "-J", *options]
    return lab.session.run(client, argv, timeout=timeout)


def received(lab: ValidationTestbed) -> float:
    """Bits/s of TCP payload."""
    report = json.loads(transfer(lab, "-P", "2").stdout)
    return float(report["end"]["sum_received"]["bits_per_second"])


def test_pods_have_the_whole_frame_where_nothing_is_encapsulated(lab: ValidationTestbed) -> None:
    assert (lab.link.mtu, lab.link.encapsulation) == (9001, 0)


def test_a_rate_limit_holds_in_its_block_only(lab: ValidationTestbed) -> None:
    with lab.faults.rate_limit(50_000_000):
        limited = received(lab)
    assert limited == pytest.approx(50e6 * lab.link.tcp_share(), rel=0.1)
    assert received(lab) > 2 * limited


def test_a_loss_is_counted_and_ends_with_its_block(lab: ValidationTestbed) -> None:
    with lab.faults.udp_loss(0.1) as counts:
        before = counts()
        # iperf3 greets the server by a single datagram, and waits without end if that is lost.
        for _ in range(8):
            with suppress(SessionError):
                transfer(lab, "-u", "-b", "20M", "-l", "1000", timeout=4)
        found = counts() - before
    assert found.seen > 5_000
    assert found.dropped / found.seen == pytest.approx(0.1, abs=0.02)
    (server,) = lab.session.pods("iperf3-server")
    shown = lab_of("a").sandbox.script("iptables -t raw -S PREROUTING", Place(netns=server.name))
    assert shown.strip() == "-P PREROUTING ACCEPT"


def test_what_is_imposed_goes_with_a_failure_too(lab: ValidationTestbed) -> None:
    faults = lab.faults
    for _ in range(2):  # a second one could not be imposed on top of the first
        with pytest.raises(RuntimeError, match="meanwhile"), faults.rate_limit(100_000_000):
            raise RuntimeError("meanwhile")
    assert "tbf" not in lab_of("a").sandbox.script("tc qdisc show")


def test_packets_are_held_and_counted_in_their_block_only(lab: ValidationTestbed) -> None:
    sandbox = lab_of("a").sandbox
    places = [Place(netns=name) for name in ("iperf3-server", "coredns")]
    usual = received(lab)
    with lab.faults.delay(("iperf3-server", DNS_SERVICE), 100_000) as passed:
        for place in places:
            assert "delay" not in sandbox.script("tc filter show dev eth0 egress", place)
            assert "direct-action" in sandbox.script("tc filter show dev eth0 ingress", place)
        before = passed()
        slower = received(lab)
        counted = passed() - before
    # At least 0.1 ms for each packet that brings at most 64 KiB.
    assert slower < min(usual, 8 * 65536 / 100e-6)
    assert counted.bytes > 60 * counted.packets > 0
    for place in places:
        assert "clsact" not in sandbox.script("tc qdisc show dev eth0", place)


def test_a_second_validation_is_refused_and_the_first_stays(lab: ValidationTestbed) -> None:
    with pytest.raises(ValidationLabError, match="another validation runs"), validation_labs(print):
        raise AssertionError("unreachable")
    assert lab.session.pods("httpbin")
