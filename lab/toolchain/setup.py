"""Brings everything that is needed into place: first what is quick, all else side by side."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from lab.toolchain import (
    doctor,
    engine,
    golang,
    login,
    packages,
    process,
    scenarios,
    shell,
    stacks,
)
from lab.toolchain.build import Builder
from lab.toolchain.cache import Cache
from lab.toolchain.errors import NotBuiltError, ToolchainError
from lab.toolchain.golang import Go
from lab.toolchain.programs import FAMILIES, Family, Need
from lab.toolchain.python_env import PythonEnv, can_make_environments, current_env

BUILDERS = 2
"""Families compiled side by side: while one links on one core, another compiles."""


def builders() -> int:
    """How many families this machine compiles at a time; a linker takes up to 2 GB."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1
    return BUILDERS if memory > 6e9 and (os.cpu_count() or 1) > 1 else 1


def say(text: str) -> None:
    """Progress goes to standard error: standard output is for ``eval``."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Progress:
    """Counts steps: ``[3/14] cilium 1.16.5 … 212 s``."""

    total: int
    done: int = 0
    _lock: Lock = field(default_factory=Lock)

    def run(self, name: str, work: Callable[[], None]) -> None:
        start = time.monotonic()
        work()
        with self._lock:
            self.done += 1
            say(f"[{self.done}/{self.total}] {name} … {time.monotonic() - start:.0f} s")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is missing."""

    packages: list[str]
    python: bool
    families: list[Family]
    engine: bool

    @property
    def steps(self) -> int:
        return bool(self.packages) + self.python + len(self.families) + self.engine


@dataclass(frozen=True, slots=True)
class Setup:
    """A set-up of one checkout for some needs."""

    checkout: Path
    needs: frozenset[Need]
    dev: bool
    environment: Mapping[str, str]
    cache: Cache

    @property
    def builder(self) -> Builder:
        return Builder(self.checkout / "tools", self.cache)

    @property
    def python(self) -> PythonEnv:
        wanted = PythonEnv(self.checkout, self.cache, dev=True)
        return wanted if self.dev else current_env(self.checkout, self.cache)

    def plan(self) -> Plan:
        builds_pulumi = engine.needs_building(self.builder, self.environment)
        needs = self.needs if builds_pulumi else self.needs - {Need.ENGINE}
        return Plan(
            packages=self._packages(needs),
            python=not self.python.ready,
            families=[family for family in FAMILIES if self._lacks(family, needs)],
            engine=Need.ENGINE in needs and not engine.built_folder(self.builder).is_dir(),
        )

    def _packages(self, needs: Collection[Need]) -> list[str]:
        if not packages.is_debian():
            return []
        return packages.missing(packages.needed(needs, tests=self.dev))

    def ensure(self) -> None:
        """Make what is missing; a few file look-ups when nothing is."""
        if self.plan().steps:
            with self.cache.lock(say):
                self.cache.clear_leftovers()
                self._make(self.plan())
        self.python.link()

    def _lacks(self, family: Family, needs: Collection[Need]) -> bool:
        return bool(self.builder.missing(family, needs)) or (
            self.builder.missing_share(family, needs) is not None
        )

    def _make(self, plan: Plan) -> None:
        if not plan.steps:
            return
        start = time.monotonic()
        progress = Progress(plan.steps)
        say(f"setting up {plan.steps} things in {self.cache.root}: built once, then kept")
        say(f"to build: {'; '.join(family.label for family in plan.families) or 'nothing'}")
        if plan.python and not can_make_environments() and packages.is_debian():
            packages.install(["python3-venv"])
        pool = ThreadPoolExecutor(max_workers=BUILDERS + 3)
        try:
            self._run(plan, progress, pool)
        except BaseException:
            process.end_all()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if plan.engine:
            progress.run("pulumi's folder", lambda: _ignore(engine.assemble(self.builder)))
        say(f"set up in {time.monotonic() - start:.0f} s")

    def _run(self, plan: Plan, progress: Progress, pool: ThreadPoolExecutor) -> None:
        futures: list[Future[None]] = []
        if plan.packages:
            what = f"Debian packages ({len(plan.packages)})"
            work = pool.submit(progress.run, what, lambda: packages.install(plan.packages))
            futures.append(work)
        python: Future[None] | None = None
        if plan.python:
            python = pool.submit(progress.run, "Python environment", self.python.make)
            futures.append(python)
        if plan.families:
            go = self._go(python)
            ahead = pool.submit(self._download_all, go, plan.families[BUILDERS:])
            futures.append(ahead)
            queue = list(plan.families)
            lock = Lock()
            futures += [
                pool.submit(self._build_from, queue, lock, go, progress, python)
                for _ in range(builders())
            ]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()

    def _go(self, python: Future[None] | None) -> Go:
        found = golang.find_go(golang.needed_version(self.checkout / "tools"))
        if found is not None:
            return found
        if python is not None:
            python.result()
        return golang.install_go(self.cache, self.python.python)

    def _download_all(self, go: Go, families: list[Family]) -> None:
        for family in families:
            self.builder.download(go, family, self.builder.missing(family, self.needs))

    def _build_from(
        self,
        queue: list[Family],
        lock: Lock,
        go: Go,
        progress: Progress,
        python: Future[None] | None,
    ) -> None:
        while True:
            with lock:
                if not queue:
                    return
                family = queue.pop(0)
            work = partial(self._build, family, go, python)
            progress.run(family.label, work)

    def _build(self, family: Family, go: Go, python: Future[None] | None) -> None:
        programs = self.builder.missing(family, self.needs)
        if programs:
            self.builder.build(go, family, programs)
        share = self.builder.missing_share(family, self.needs)
        if share is not None:
            if share.grpc_proto and python is not None:
                python.result()
            self.builder.copy_share(go, family, share, self.python.python)


def _ignore(_: object) -> None:
    return


def check_machine(needs: frozenset[Need], *, tolerant: bool) -> frozenset[Need]:
    """Refuse a machine that cannot run the lab; tolerant, go on without the lab."""
    if Need.LAB not in needs:
        return needs
    problems = doctor.missing(doctor.gather())
    if not problems:
        return needs
    if not tolerant:
        raise ToolchainError(doctor.message(problems))
    say(doctor.message(problems))
    return frozenset({Need.ENGINE})


def ready_environment(
    checkout: Path,
    cache: Cache,
    environment: Mapping[str, str],
    names: Collection[str] | None,
) -> dict[str, str]:
    """The variables to set, with the stacks in place.

    In our own backend every scenario's stack is made; in a user's own only those named.
    """
    builder = Builder(checkout / "tools", cache)
    python = current_env(checkout, cache)
    try:
        chosen = engine.find_engine(builder, environment)
    except NotBuiltError:
        chosen = None  # the checks need no engine; a missing `pulumi` is told by whoever calls it
    found = login.find_login(environment, shell.project_file(checkout))
    login.prepare(found, environment)
    project = stacks.project_name(checkout)
    variables = shell.changes(builder, python, chosen, found, project, environment)
    if chosen is None:
        return variables
    wanted = scenarios.stacks(checkout) if found.ours else list(names or [])
    created = stacks.create(
        chosen.command, found, checkout, wanted, {**environment, **variables}, cache
    )
    if created:
        say(f"Pulumi stacks created: {', '.join(created)}")
    return variables
