"""The census's tests have the served cluster of those who use it."""

from __future__ import annotations

from tests.components.kubernetes.conftest import client, connect, impatience, server

__all__ = ["client", "connect", "impatience", "server"]
