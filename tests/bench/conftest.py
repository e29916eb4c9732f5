"""Fixtures for the measurement's tests: recorded outputs and a session that replays them."""

from __future__ import annotations

import pytest

from tests.bench.fakes import FakeSession


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of tests that run the real load generators."""
    config.addinivalue_line(
        "markers", "integration: runs the real load generators in network namespaces (root)"
    )


@pytest.fixture
def session() -> FakeSession:
    """A healthy session of three nodes."""
    return FakeSession()
