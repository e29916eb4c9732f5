"""Results with other samples in place of theirs."""

from __future__ import annotations

import pytest

from bench.results import MissingSample
from studies.validate.testbed import with_samples
from tests.bench.sample_results import metric, results


def test_other_samples_have_their_own_median() -> None:
    lost = MissingSample(round=4, reason="gone")
    made = results({"m": metric([1.0, 2.0, 9.0], missing=[lost]), "k": metric([5.0])})
    found = with_samples(made, {"m": [7.0, 8.0], "k": []})
    assert set(found.metrics) == {"m"}
    assert found.metrics["m"].median == pytest.approx(7.5)
    assert found.metrics["m"].ci == (7.0, 8.0)
    assert (found.metrics["m"].n, found.metrics["m"].missing) == (2, [])
