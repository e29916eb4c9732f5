"""Fixtures of the studies' tests: those of the measurement's."""

from tests.bench.conftest import session

__all__ = ["session"]
