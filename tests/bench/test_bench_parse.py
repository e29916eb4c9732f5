"""The parsers on recorded outputs, and on truncated, erroneous and odd variants of them."""

from __future__ import annotations

import json

import pytest

from bench.probes.dns import parse_dig
from bench.probes.fortio import Load, parse_load
from bench.probes.iperf import parse_tcp, parse_udp
from bench.text import ParseError
from tests.bench.fakes import recorded

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def load_of(name: str, *, request_log: bool = False) -> Load:
    result = recorded(name)
    return parse_load(
        result.stdout, result.stderr, percentiles=PERCENTILES, request_log=request_log
    )


# iperf3


def test_tcp_takes_the_receivers_rate() -> None:
    stdout = recorded("iperf3-tcp").stdout
    report = parse_tcp(stdout)
    document = json.loads(stdout)["end"]
    assert report.end.sum_received.bits_per_second == document["sum_received"]["bits_per_second"]
    assert report.end.sum_sent.retransmits == document["sum_sent"]["retransmits"]
    assert report.start.version == "iperf 3.12"


def test_udp_goodput_is_not_the_senders_rate() -> None:
    report = parse_udp(recorded("iperf3-udp").stdout)
    sent, received = report.end.sum_sent, report.end.sum_received
    assert received.bits_per_second < sent.bits_per_second
    lost = 1 - received.bits_per_second / sent.bits_per_second
    assert 100 * lost == pytest.approx(received.lost_percent, abs=1)
    assert report.start.test_start.blksize == 1448


@pytest.mark.parametrize(
    ("name", "reason"),
    [("iperf3-refused", "Connection refused"), ("iperf3-busy", "server is busy")],
)
def test_iperf3s_error_is_the_reason(name: str, reason: str) -> None:
    result = recorded(name)
    assert result.returncode == 0, "iperf3 3.12 ends with 0 all the same"
    with pytest.raises(ParseError, match=reason):
        parse_tcp(result.stdout, result.stderr)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_iperf3_json_is_no_sample(share: float) -> None:
    stdout = recorded("iperf3-tcp").stdout.rstrip()
    with pytest.raises(ParseError, match="no complete JSON"):
        parse_tcp(stdout[: int(len(stdout) * share)], "")


def test_iperf3s_words_on_standard_error_are_in_the_reason() -> None:
    with pytest.raises(ParseError, match="iperf3: unrecognized option"):
        parse_tcp("", "iperf3: unrecognized option '--frobnicate'")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "no report"),
        ({"start": {}, "end": {}}, "start.version"),
        ({"end": {"sum_received": {}}}, "start"),
    ],
)
def test_iperf3_json_of_another_shape_is_no_sample(document: object, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        parse_tcp(json.dumps(document))


def test_a_receiver_that_counted_nothing_is_no_zero() -> None:
    tcp = json.loads(recorded("iperf3-tcp").stdout)
    tcp["end"]["sum_received"].update(bytes=0, bits_per_second=0)
    with pytest.raises(ParseError, match="no bytes"):
        parse_tcp(json.dumps(tcp))
    udp = json.loads(recorded("iperf3-udp").stdout)
    udp["end"]["sum_received"].update(packets=0, bits_per_second=0, lost_percent=0)
    with pytest.raises(ParseError, match="no datagrams"):
        parse_udp(json.dumps(udp))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"bits_per_second":\t', '"bits_per_second":\tNaN, "was":\t'),
        ('"bits_per_second":\t', '"bits_per_second":\t-1, "was":\t'),
        ('"bits_per_second":\t', '"bits_per_second":\t"9.4 Gbits/sec", "was":\t'),
        ('"lost_percent":\t', '"lost_percent":\t104, "was":\t'),
        ('"lost_percent":\t', '"lost_percent":\t-0.5, "was":\t'),
        ('"jitter_ms":\t', '"jitter_ms":\tInfinity, "was":\t'),
        ('"packets":\t', '"packets":\t1e3.5, "was":\t'),
    ],
)
def test_odd_numbers_of_iperf3_are_no_sample(old: str, new: str) -> None:
    stdout = recorded("iperf3-udp").stdout
    assert old in stdout
    with pytest.raises(ParseError, match=r"^iperf3: "):
        parse_udp(stdout.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"ActualQPS": ', '"ActualQPS": NaN, "was": '),
        ('"ActualQPS": ', '"ActualQPS": -3, "was": '),
        ('"ActualQPS": ', '"ActualQPS": "12k", "was": '),
        ('"Value": ', '"Value": Infinity, "was": '),
        ('"Count": ', '"Count": 1.5, "was": '),
        ('"Percentile": 99,', '"Percentile": 98,'),
    ],
)
def test_odd_numbers_of_fortio_are_no_sample(old: str, new: str) -> None:
    stdout = recorded("fortio-http-max").stdout
    assert old in stdout
    with pytest.raises(ParseError, match=r"^fortio: "):
        parse_load(stdout.replace(old, new), percentiles=PERCENTILES)


def test_a_request_log_in_another_format_is_no_sample() -> None:
    stdout = recorded("fortio-http-100").stdout.replace('"latency":0.', '"latency":"0.')
    with pytest.raises(ParseError, match="its request log has 0 requests"):
        parse_load(stdout, percentiles=PERCENTILES, request_log=True)


def test_udp_without_the_receivers_totals_is_no_sample() -> None:
    udp = json.loads(recorded("iperf3-udp").stdout)
    del udp["end"]["sum_received"]
    with pytest.raises(ParseError, match=r"end\.sum_received"):
        parse_udp(json.dumps(udp))


# fortio


def test_request_log_gives_exact_percentiles_inside_the_histograms_buckets() -> None:
    exact = load_of("fortio-http-100", request_log=True)
    coarse = load_of("fortio-http-100")
    assert exact.requests == 100
    assert exact.errors == 0
    assert exact.rate == pytest.approx(100, rel=0.05)
    for q in (50.0, 90.0):
        assert exact.latency[q].spread == 0
        assert coarse.latency[q].low <= exact.latency[q].value <= coarse.latency[q].high


def test_histogram_percentiles_are_fortios_own_in_microseconds() -> None:
    stdout = recorded("fortio-tcp").stdout
    own = json.loads(stdout)["DurationHistogram"]["Percentiles"]
    load = load_of("fortio-tcp")
    for item in own:
        quantile = load.latency[item["Percentile"]]
        assert quantile.value == pytest.approx(item["Value"] * 1e6)
        assert quantile.low <= quantile.value <= quantile.high
    assert load.connections == 1
    assert load.connect == {}


def test_connection_times_are_apart_from_request_times() -> None:
    load = load_of("fortio-connect")
    assert 0 < load.connect[50.0].value < load.latency[50.0].value


def test_failed_requests_are_counted_and_kept_out_of_the_log_s_latency() -> None:
    load = load_of("fortio-some-errors", request_log=True)
    assert load.errors == load.codes["500"] > 0
    assert load.requests == sum(load.codes.values())
    assert load.error_percent == pytest.approx(100 * load.errors / load.requests)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fortio-all-failed", "all 100 requests failed: dial tcp .*: connection refused"),
        ("fortio-http-refused", r"all 4 requests failed: -1 \(4\)"),
        ("fortio-warmup-error", "no JSON result; it said: .*error 503"),
    ],
)
def test_fortio_without_one_good_request_is_no_sample(name: str, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        load_of(name)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_truncated_fortio_output_is_no_sample(share: float) -> None:
    stdout = recorded("fortio-http-100").stdout.rstrip()
    with pytest.raises(ParseError, match="fortio"):
        parse_load(stdout[: int(len(stdout) * share)], percentiles=PERCENTILES)


def test_a_request_log_with_lines_missing_is_no_sample() -> None:
    stdout = recorded("fortio-http-100").stdout
    cut = stdout[stdout.index("\n") + 1 :]
    with pytest.raises(ParseError, match="request log has 99 requests"):
        parse_load(cut, percentiles=PERCENTILES, request_log=True)


def test_a_percentile_that_was_not_asked_for_is_an_error() -> None:
    with pytest.raises(ParseError, match="lacks the 12th percentile"):
        parse_load(recorded("fortio-tcp").stdout, percentiles=(12.0,))


def test_a_run_without_requests_is_no_sample() -> None:
    document = json.loads(recorded("fortio-tcp").stdout)
    document["DurationHistogram"]["Count"] = 0
    with pytest.raises(ParseError, match="no request was made"):
        parse_load(json.dumps(document, indent=1), percentiles=PERCENTILES)


# dig


def test_dig_times_are_microseconds() -> None:
    report = parse_dig(recorded("dig-answers").stdout, 10)
    assert len(report.microseconds) == report.queries == 10
    assert list(report.microseconds) == sorted(report.microseconds)
    assert not report.failures
    assert not report.coarse


def test_dig_in_milliseconds_is_converted_and_marked_coarse() -> None:
    report = parse_dig(recorded("dig-milliseconds").stdout, 3)
    assert report.coarse
    assert all(time % 1000 == 0 for time in report.microseconds)
    odd = recorded("dig-one").stdout.replace(" usec", " msec")
    assert parse_dig(odd, 1).microseconds[0] >= 1000


def test_dig_failures_are_counted_by_reason_and_have_no_time() -> None:
    result = recorded("dig-mixed")
    assert result.returncode == 0, "dig ends with 0 all the same"
    report = parse_dig(result.stdout, 7)
    assert dict(report.failures) == {
        "timed out": 1,
        "SERVFAIL": 1,
        "NXDOMAIN": 1,
        "empty answer": 1,
    }
    assert len(report.microseconds) == 3


def test_dig_without_one_answer_is_no_sample() -> None:
    with pytest.raises(ParseError, match=r"none of 2 queries .*connection refused \(2\)"):
        parse_dig(recorded("dig-refused").stdout, 2)
    with pytest.raises(ParseError, match=r"no output \(5\).*it said: dig: couldn't"):
        parse_dig("", 5, "dig: couldn't get address for 'nowhere'")


def test_queries_missing_at_the_end_of_dig_output_are_failures() -> None:
    stdout = recorded("dig-answers").stdout
    cut = stdout[: stdout.rindex(";; Query time")]
    report = parse_dig(cut, 10)
    assert dict(report.failures) == {"no output": 1}


def test_dig_refuses_what_it_cannot_read() -> None:
    stdout = recorded("dig-answers").stdout
    with pytest.raises(ParseError, match="10 answers for 9 queries"):
        parse_dig(stdout, 9)
    with pytest.raises(ParseError, match="unknown unit of time 'nsec'"):
        parse_dig(stdout.replace("usec", "nsec"), 10)
