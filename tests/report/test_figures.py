"""What figures draw of a metric: its samples, but of slices only what may differ by chance."""

from __future__ import annotations

from collections.abc import Mapping

from bench.results import MetricResult, Place
from bench.sampling import summed
from report.figures import Dots, dots, samples


def metric(samples_: Mapping[Place, float]) -> MetricResult:
    return MetricResult(
        **summed(samples_),
        unit="µs", better="lower", group="g", description="d", probe="p",
    )  # fmt: skip


def sliced(bring_ups: int, rounds: int, slices: int) -> MetricResult:
    """Its samples are 1, 2, …"""
    places = [
        Place(bring_up, rounds * (bring_up - 1) + round_, slice_)
        for bring_up in range(1, bring_ups + 1)
        for round_ in range(1, rounds + 1)
        for slice_ in range(1, slices + 1)
    ]
    return metric({place: float(n) for n, place in enumerate(places, 1)})


def test_without_slices_every_sample_is_drawn() -> None:
    assert samples(metric({Place(1, 1): 4, Place(1, 2): 1, Place(1, 3): 9})) == [4, 1, 9]


def test_slices_are_drawn_as_the_medians_of_their_bring_ups() -> None:
    assert samples(sliced(bring_ups=3, rounds=1, slices=5)) == [3, 8, 13]
    assert samples(sliced(bring_ups=2, rounds=2, slices=3)) == [3.5, 9.5]


def test_slices_of_a_single_bring_up_are_drawn_as_the_medians_of_its_rounds() -> None:
    assert samples(sliced(bring_ups=1, rounds=2, slices=3)) == [2, 5]


def test_a_figure_does_not_grow_with_the_number_of_slices() -> None:
    def drawn(*slices: int) -> str:
        places = [Place(n, n, slice_) for n in range(1, 6) for slice_ in slices]
        return dots("m", [Dots("a", metric({place: place.bring_up for place in places}))])

    assert drawn(*range(1, 251)) == drawn(0)
    assert drawn(0).count("<use ") > 5
