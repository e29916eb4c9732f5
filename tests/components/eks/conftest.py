"""Every scenario on EKS, declared once."""

from __future__ import annotations

import pytest

from tests.components.eks import eks_mocks
from tests.components.engine_mocks import Program
from tests.components.stack_config import STACKS


@pytest.fixture(scope="session")
def programs() -> dict[str, Program]:
    """The declared stacks, by name."""
    return {stack: eks_mocks.program(stack) for stack in STACKS}
