"""The Pulumi engine's part for tests: registers what a program declares, and keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc
from pulumi.runtime.mocks import MockMonitor, MockResourceArgs, Mocks

#: What the lab's steps and the benchmark would give, by the resource's name.
OUTPUTS: dict[str, dict[str, Any]] = {
    "slot": {"lab_id": "scenario-x-1f"},
    "cluster": {"boot": "b001"},
    "cni": {"toggles": {"dsr": {"applied": False}}},
    "workloads": {"pods": {"httpbin-1": "10.0.0.1"}},
    "benchmark": {
        "results": {
            "metrics": {"tcp_throughput": {"median": 9.0}},
            "environment": {"target": "lab"},
            "warnings": ["CPU was short"],
        }
    },
}


@dataclass(frozen=True, slots=True)
class Registered:
    """One resource as the program registered it."""

    name: str
    type: str
    parent: str
    after: frozenset[str]
    """Names of those that it waits for: by `depends_on`, or by an output that it takes."""
    inputs: dict[str, Any]
    secrets: frozenset[str] = frozenset()
    """Names of the inputs that the engine keeps as secrets."""
    provider: str = ""
    """Name of the provider that it asks for, where it asks for one."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options that differ from the engine's defaults."""


@dataclass
class Program:
    """What a program has registered, and what it said at its end.

    Resources are by name; of two that share one, the second also has its type: `nodes (a:b:C)`.
    """

    resources: dict[str, Registered] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    def add(self, resource: Registered) -> None:
        """Keep one more."""
        taken = resource.name in self.resources
        key = f"{resource.name} ({resource.type})" if taken else resource.name
        assert key not in self.resources, f"{key} is registered twice"
        self.resources[key] = resource


class _Outputs(Mocks):
    def __init__(self, outputs: Mapping[str, dict[str, Any]]) -> None:
        self._outputs = outputs

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """The inputs and what the step would add."""
        return f"{args.name}-id", {**args.inputs, **self._outputs.get(args.name, {})}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        """No program of ours calls a provider's function."""
        raise AssertionError(f"unexpected call of {args.token}")


class Monitor(MockMonitor):
    """Keeps what a program registers.

    :param outputs: what the resources would give, by name.
    """

    def __init__(self, program: Program, outputs: Mapping[str, dict[str, Any]]) -> None:
        super().__init__(_Outputs(outputs))
        self._program = program

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 -- the service's name
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != "pulumi:pulumi:Stack":
            raw = rpc.deserialize_properties(request.object)
            secrets = {name for name, value in raw.items() if rpc.is_rpc_secret(value)}
            registered = Registered(
                name=request.name,
                type=request.type,
                parent=_name(request.parent),
                after=frozenset(_name(urn) for urn in request.dependencies),
                inputs={name: rpc.unwrap_rpc_secret(value) for name, value in raw.items()},
                secrets=frozenset(secrets),
                provider=request.provider.rpartition("::")[0].rpartition("::")[2],
                options=_options(request),
            )
            self._program.add(registered)
        return answer


def _options(request: Any) -> dict[str, Any]:
    bounds = {each.name: value for each, value in request.customTimeouts.ListFields()}
    return {
        **({"timeouts": bounds} if bounds else {}),
        **({"delete_before_replace": True} if request.deleteBeforeReplace else {}),
        **({"deleted_with": _name(request.deletedWith)} if request.deletedWith else {}),
    }


def run(
    stack: str,
    declare: Callable[[], dict[str, pulumi.Input[Any]]],
    monitor_of: Callable[[Program], Monitor] = lambda program: Monitor(program, OUTPUTS),
) -> Program:
    """Run a program to its end; what it returns are its outputs.

    A program that is refused raises what it raised; ``PROGRAMS[-1]`` has what was registered.

    :param monitor_of: the engine's part; the default one has the lab's steps.
    """
    program = Program()
    PROGRAMS[:] = [program]
    monitor = monitor_of(program)
    mocks.set_mocks(
        monitor.mocks,
        "cni-benchmark",
        stack,
        preview=False,
        monitor=monitor,
        organization="organization",  # as backends without accounts have it
    )

    def keep() -> pulumi.Output[Any]:
        return pulumi.Output.all(**declare()).apply(program.outputs.update)

    mocks.test(keep)()  # type: ignore[no-untyped-call]
    return program


PROGRAMS: list[Program] = []
"""The latest one, also where it was refused."""


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
