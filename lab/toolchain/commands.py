"""The second stage, in the Python environment: what ``python3 -m lab.toolchain`` is asked for."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psutil

from cni.kubernetes import DEFAULT as KUBERNETES
from lab import machine
from lab.errors import NotBuiltError, ToolchainError
from lab.toolchain import build, doctor, killed, process, pulumi
from lab.toolchain.bootstrap import current_env, guarded, parser, say
from lab.toolchain.build import Builder, Go
from lab.toolchain.cache import CHECKOUT, Cache
from lab.toolchain.launcher import PROJECT_FILE
from lab.toolchain.programs import (
    ALL,
    ENGINE,
    FAMILIES,
    LAB,
    OF_VERSIONS,
    PODS,
    USUAL,
    VERSIONS,
    Family,
    Need,
    Share,
    families_of,
    needs_of_lab,
    packages_for,
)
from lab.toolchain.pulumi import needs_of_stack, project_name, stacks

if TYPE_CHECKING:
    from lab.toolchain.progress import Progress

BUILDERS = 2
"""Families compiled side by side: while one links on one core, another compiles."""


def builders() -> int:
    """How many families this machine compiles at a time; a linker takes up to 2 GB."""
    return BUILDERS if psutil.virtual_memory().total > 6e9 and (os.cpu_count() or 1) > 1 else 1


@dataclass(frozen=True, slots=True)
class Missing:
    """What a set-up has to make."""

    packages: list[str]
    families: list[Family]
    engine: bool

    @property
    def steps(self) -> int:
        return bool(self.packages) + len(self.families) + self.engine


@dataclass(frozen=True, slots=True)
class Setup:
    """A set-up of this checkout for some needs.

    :ivar dev: with what tests want: tools, and the shared files of all versions, charts among them.
    """

    needs: frozenset[Need]
    dev: bool
    builder: Builder

    def _missing_share(self, family: Family) -> Share | None:
        every = self.needs | OF_VERSIONS if self.dev and LAB in self.needs else self.needs
        return self.builder.missing_share(family, every)

    def missing(self) -> Missing:
        own_pulumi = pulumi.own_pulumi(self.builder.cache, os.environ)
        needs = self.needs - {ENGINE} if own_pulumi else self.needs
        packages: list[str] = []
        if doctor.is_debian():
            packages = doctor.missing_packages(packages_for(needs, tests=self.dev))
        return Missing(
            packages=packages,
            families=[
                family
                for family in FAMILIES
                if self.builder.missing(family, needs) or self._missing_share(family)
            ],
            engine=ENGINE in needs and not pulumi.built_folder(self.builder).is_dir(),
        )

    def ensure(self) -> None:
        """Make what is missing; a few file look-ups when nothing is."""
        if self.missing().steps:
            with machine.working("a set-up", say), self.builder.cache.lock(say):
                self.builder.cache.clear_leftovers()
                self._make(self.missing())

    def _make(self, missing: Missing) -> None:
        if not missing.steps:
            return
        start = time.monotonic()
        say(
            f"setting up {missing.steps} things in {self.builder.cache.root}: built once, then kept"
        )
        say(f"to build: {'; '.join(family.label for family in missing.families) or 'nothing'}")
        # Here, because every `make` waits for what is imported above.
        from lab.toolchain.progress import Progress

        with Progress(missing.steps) as progress:
            beside, compilers = ThreadPoolExecutor(2), ThreadPoolExecutor(builders())
            try:
                self._run(missing, progress, beside, compilers)
            except BaseException:
                process.end_all()
                raise
            finally:
                beside.shutdown(cancel_futures=True)
                compilers.shutdown(cancel_futures=True)
            if missing.engine:
                progress.run("pulumi's folder", partial(pulumi.assemble, self.builder))
        say(f"set up in {time.monotonic() - start:.0f} s")

    def _run(
        self,
        missing: Missing,
        progress: "Progress",
        beside: ThreadPoolExecutor,
        compilers: ThreadPoolExecutor,
    ) -> None:
        futures: list[Future[None]] = []
        if missing.packages:
            what = f"Debian packages ({len(missing.packages)})"
            install = partial(doctor.install_packages, missing.packages)
            futures.append(beside.submit(progress.run, what, install))
        if missing.families:
            go = build.find_go(build.needed_version(self.builder.tools))
            if go is None:
                with progress.under_way("Go from PyPI"):
                    go = build.install_go(self.builder.cache)
            ahead = missing.families[BUILDERS:]
            futures.append(beside.submit(self._download_all, progress, go, ahead))
            futures += [
                compilers.submit(progress.run, family.label, partial(self._build, family, go))
                for family in missing.families
            ]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()

    def _download_all(self, progress: "Progress", go: Go, families: list[Family]) -> None:
        for family in families:
            with progress.under_way(f"downloading the modules of {family.label}"):
                self.builder.download(go, family, self.builder.missing(family, self.needs))

    def _build(self, family: Family, go: Go) -> None:
        programs = self.builder.missing(family, self.needs)
        if programs:
            self.builder.build(go, family, programs)
        share = self._missing_share(family)
        if share is not None:
            self.builder.copy_share(go, family, share)


def ensure(
    arguments: argparse.Namespace,
    *,
    dev: bool,
    python_only: bool = False,
    down: str | None = None,
) -> None:
    """Make all that is asked for.

    :param down: the stack that is to be taken down, and nothing else.

    :raises ToolchainError: the machine cannot run the lab that is asked for by name; where nothing
        is, the set-up goes on without the lab.
    """
    if python_only:
        needs = frozenset[Need]()
    elif down is not None:
        needs = pulumi.needs_to_take_down(CHECKOUT, down, os.environ)
    elif arguments.stack is not None:
        needs = needs_of_stack(CHECKOUT, arguments.stack)
    elif arguments.cni is not None:
        needs = _needs_of_cni(arguments.cni)
    elif arguments.every:
        needs = ALL
    else:
        needs = USUAL.union(*(needs_of_stack(CHECKOUT, each) for each in stacks(CHECKOUT)))
    if LAB in needs and (problems := doctor.missing(doctor.gather())):
        if arguments.stack is not None or arguments.cni is not None:
            raise ToolchainError(doctor.message(problems))
        say(doctor.message(problems))
        needs = frozenset({ENGINE, PODS})
    Setup(needs, dev, Builder(CHECKOUT / "tools", Cache())).ensure()


def run(arguments: argparse.Namespace) -> None:
    argv: list[str] = arguments.argv
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if not argv:
        raise ToolchainError("run: no command given")
    variables = ready_environment(arguments.stack)
    environment = {**os.environ, **variables}
    command = shutil.which(argv[0], path=variables["PATH"])
    if command is None:
        raise ToolchainError(f"run: no command {argv[0]!r}; `make setup` may be what is missing")
    if arguments.clear is not None:
        login = pulumi.find_login(environment, CHECKOUT / PROJECT_FILE)
        project = project_name(CHECKOUT) or ""
        killed.clear(command, login.backend, project, arguments.clear, environment, say)
    os.execve(command, argv, environment)


def _needs_of_cni(cni: str) -> frozenset[Need]:
    """All versions of a CNI, with and without kube-proxy, on the usual Kubernetes."""
    versions = families_of(cni)
    if not versions:
        raise ToolchainError(f"no CNI {cni!r}; the lab has: {', '.join(sorted(VERSIONS))}")
    return frozenset().union(
        *(needs_of_lab(cni, version, KUBERNETES, kube_proxy=True) for version in versions)
    )


def ready_environment(stack: str | None) -> dict[str, str]:
    """The variables to set, with the stacks in place.

    In our own backend every scenario's stack is made; in a user's own only the one that is named.
    """
    cache = Cache()
    builder = Builder(CHECKOUT / "tools", cache)
    python = current_env(CHECKOUT, cache)
    try:
        chosen = pulumi.find_engine(builder, os.environ)
    except NotBuiltError:
        chosen = None  # the checks need no engine; whoever calls a missing `pulumi` says so
    login = pulumi.find_login(os.environ, CHECKOUT / PROJECT_FILE)
    pulumi.prepare(login, os.environ)
    project = project_name(CHECKOUT)
    variables = pulumi.changes(builder, python, chosen, login, project, os.environ)
    if chosen is None:
        return variables
    wanted = stacks(CHECKOUT) if login.ours else [stack] if stack else []
    environment = {**os.environ, **variables}
    created = pulumi.create_stacks(chosen.command, login, CHECKOUT, wanted, environment)
    if created:
        say(f"Pulumi stacks created: {', '.join(created)}")
    return variables


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return guarded(lambda: _dispatch(arguments))


def _dispatch(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "ensure":
            ensure(arguments, dev=arguments.dev, python_only=arguments.python, down=arguments.down)
        case "env":
            ensure(arguments, dev=False)
            sys.stdout.write(pulumi.as_exports(ready_environment(arguments.stack)))
        case "run":
            run(arguments)
        case "versions":
            programs = {
                (one.name, each.version_of(one)) for each in FAMILIES for one in each.programs
            }
            for name, version in sorted(programs):
                print(f"{name:<24}{version}")


if __name__ == "__main__":
    sys.exit(main())
