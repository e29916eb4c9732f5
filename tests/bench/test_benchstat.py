"""Go's benchmark format, benchstat's CSV, and the real benchstat against our own statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.benchstat import BenchstatError, Row, benchstat, export, parse
from bench.compare import compare
from bench.results import MetricResult, Results
from cli.main import main
from lab.errors import ToolchainError
from lab.toolchain.build import Toolchain
from tests.bench.sample_results import metric, results

FIXTURES = Path(__file__).parents[1] / "fixtures" / "bench"


def program() -> Path:
    try:
        return Toolchain.default().program("benchstat")
    except ToolchainError as error:
        pytest.skip(str(error))


def measured(seed: int, factor: float = 1.0, n: int = 8) -> Results:
    """Metrics of every unit: continuous, tied, constant, mostly zero."""
    draw = np.random.default_rng(seed)

    def around(median: float, spread: float) -> list[float]:
        noise = draw.lognormal(sigma=spread, size=n)
        return [float(f"{median * factor * each:.6g}") for each in noise]

    return results(
        {
            "rtt_p50": metric(around(16, 0.1)),
            "tcp_throughput": metric(around(12, 0.02), unit="Gbit/s", better="higher"),
            "http_1000_qps": metric(
                [float(984 + draw.integers(3)) for _ in range(n)], unit="1/s", better="higher"
            ),
            "udp_loss": metric([0.0] * (n - 1) + [float(draw.uniform())], unit="%"),
            "http_1000_errors": metric([0.0] * n, unit="%"),
            "cni_memory": metric([145.25] * n, unit="MiB"),
            "cni_cpu": metric(around(5, 0.1), unit="millicores"),
            "tcp_retransmits": metric(
                [float(draw.integers(4)) for _ in range(n)], unit="segments"
            ),
        }
    )  # fmt: skip


def test_a_line_per_sample_in_base_units_exactly() -> None:
    made = results(
        {
            "rtt_p50": metric([16.1, 17.0]),
            "tcp_throughput": metric([12.3456], unit="Gbit/s", better="higher"),
            "cni_memory": metric([1.5], unit="MiB"),
            "odd": metric([1.0], unit="hops of a chain"),
        },
        scenario={"title": "baseline"},
    )
    text = export(made)
    assert text.endswith("\n")
    lines = text.splitlines()
    assert "BenchmarkRtt_p50 1 0.0000161 sec" in lines
    assert "BenchmarkRtt_p50 1 0.0000170 sec" in lines
    assert "BenchmarkTcp_throughput 1 1.23456E+10 bit/s" in lines
    assert "BenchmarkCni_memory 1 1572864.0 B" in lines
    assert "BenchmarkOdd 1 1.0 hops-of-a-chain" in lines
    assert "Unit sec better=lower" in lines
    assert "Unit bit/s better=higher" in lines
    neither = results({"m": metric([1.0], unit="Gbit/s", better="neither")})
    assert not [line for line in export(neither).splitlines() if line.startswith("Unit")]
    # Differing keys would part the two files into tables of their own.
    assert [line for line in lines if line[0].islower()] == ["pkg: cni-benchmark"]
    assert "# scenario baseline" in lines


def test_slices_and_rounds_of_a_bring_up_are_one_line() -> None:
    places: dict[str, Any] = {
        "bring_ups": [1, 1, 1, 2, 2],
        "rounds": [1, 1, 1, 2, 3],
        "slices": [1, 2, 3, 1, 1],
    }
    several = export(results({"m": metric([1.0, 2.0, 9.0, 4.0, 6.0], unit="%", **places)}))
    assert [line for line in several.splitlines() if line.startswith("Bench")] == [
        "BenchmarkM 1 2.0 %", "BenchmarkM 1 5.0 %",
    ]  # fmt: skip
    once: dict[str, Any] = {"rounds": [1, 1, 2], "slices": [1, 2, 1]}
    rounds = export(results({"m": metric([1.0, 2.0, 9.0], unit="%", **once)}))
    assert [line for line in rounds.splitlines() if line.startswith("Bench")] == [
        "BenchmarkM 1 1.5 %", "BenchmarkM 1 9.0 %",
    ]  # fmt: skip


def test_a_unit_with_two_directions_is_left_without_one() -> None:
    made = results({"loss": metric([1.0], unit="%"), "spare": metric([1.0], unit="%",
                                                                   better="higher")})  # fmt: skip
    assert "Unit %" not in export(made)


@pytest.mark.parametrize("factor", [1.0, 1.08])
@pytest.mark.parametrize("n", [3, 5, 8, 12])
def test_the_real_benchstat_has_our_medians_and_our_p(
    tmp_path: Path, factor: float, n: int
) -> None:
    a, b = measured(1, n=n), measured(2, factor, n=n)
    rows = benchstat(program(), a, b, tmp_path)
    ours = compare(a, b).metrics
    assert rows.keys() == ours.keys()
    for name, row in rows.items():
        assert row.medians == pytest.approx(ours[name].medians, rel=1e-12)
        assert row.n == (n, n)
        assert row.p == pytest.approx(ours[name].p, abs=0.00051), name


def test_sides_of_unequal_size_agree_where_nothing_is_tied(tmp_path: Path) -> None:
    a, b = measured(1, n=6), measured(2, n=9)
    rows = benchstat(program(), a, b, tmp_path)
    ours = compare(a, b).metrics
    for name in ("rtt_p50", "tcp_throughput", "cni_cpu"):
        assert rows[name].n == (6, 9)
        assert rows[name].p == pytest.approx(ours[name].p, abs=0.00051)


def recorded() -> tuple[str, dict[str, MetricResult]]:
    """benchstat's CSV of ``measured(1)`` and ``measured(2, 1.08)``, and the metrics in it."""
    text = (FIXTURES / "benchstat.csv").read_text(encoding="utf-8")
    return text, measured(1).metrics


def test_recorded_output_is_read() -> None:
    rows = parse(*recorded())
    assert set(rows) == set(measured(1).metrics)
    expected = compare(measured(1), measured(2, 1.08)).metrics
    assert rows["http_1000_errors"] == Row((0.0, 0.0), 1.0, (8, 8))
    for name, row in rows.items():
        assert row.medians == pytest.approx(expected[name].medians, rel=1e-12)


def test_a_metric_of_one_side_is_left_out(tmp_path: Path) -> None:
    a = results({"rtt_p50": metric([1.0, 2.0]), "dns_p50": metric([1.0, 2.0])})
    b = results({"rtt_p50": metric([1.0, 2.0])})
    assert set(benchstat(program(), a, b, tmp_path)) == {"rtt_p50"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *[("p=", "q="), ("Rtt_p50", "Nonesuch"), (",1.", ",x1."), (",~,p=0.328 n=8", "")],
        ("Rtt_p50", "x" * 140_000),  # more than a field of Python's reader may hold
    ],
)
def test_damaged_output_is_an_error(old: str, new: str) -> None:
    text, known = recorded()
    assert old in text
    with pytest.raises(BenchstatError, match="benchstat: "):
        parse(text.replace(old, new), known)


def test_a_benchstat_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchstatError, match="benchstat"):
        benchstat(tmp_path / "nonesuch", measured(1), measured(2), tmp_path)
    with pytest.raises(BenchstatError, match="benchstat"):
        benchstat(Path("/bin/false"), measured(1), measured(2), tmp_path)


def test_the_command_prints_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    file.write_text(measured(1).to_json(), encoding="utf-8")
    assert main(["benchstat", "--file", str(file)]) == 0
    assert capsys.readouterr().out == export(measured(1))
    assert main(["benchstat", "--file", str(tmp_path / "none.json")]) == 5
    assert "none.json" in capsys.readouterr().err
