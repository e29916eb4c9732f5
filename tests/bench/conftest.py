"""Fixtures for the measurement's tests: recorded outputs and a session that replays them."""

from __future__ import annotations

import pytest

from tests.bench.fakes import FakeSession


@pytest.fixture
def session() -> FakeSession:
    """A healthy session of three nodes."""
    return FakeSession()
