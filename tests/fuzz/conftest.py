"""How many cases each reader gets: some hundred, the same every time, or by ``make test-all`` ten
thousand (``--hypothesis-profile=thorough``)."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "brief",
    max_examples=200,
    derandomize=True,
    deadline=None,  # a machine may be busy; see spoiling.in_time
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("thorough", settings.get_profile("brief"), max_examples=10_000)
settings.load_profile("brief")
