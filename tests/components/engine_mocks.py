"""The Pulumi engine's part for tests: registers what a program declares, and keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi.runtime import mocks
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


@dataclass
class Program:
    """What a program has registered, by name, and what it said at its end."""

    resources: dict[str, Registered] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


class _Outputs(Mocks):
    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """The inputs and what the step would add."""
        return f"{args.name}-id", {**args.inputs, **OUTPUTS.get(args.name, {})}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        """No program of ours calls a provider's function."""
        raise AssertionError(f"unexpected call of {args.token}")


class _Monitor(MockMonitor):
    def __init__(self, program: Program) -> None:
        super().__init__(_Outputs())
        self._program = program

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 -- the service's name
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != "pulumi:pulumi:Stack":
            self._program.resources[request.name] = Registered(
                name=request.name,
                type=request.type,
                parent=_name(request.parent),
                after=frozenset(_name(urn) for urn in request.dependencies),
                inputs=pulumi.runtime.rpc.deserialize_properties(request.object),
            )
        return answer


def run(stack: str, declare: Callable[[], dict[str, pulumi.Input[Any]]]) -> Program:
    """Run a program to its end; what it returns are its outputs.

    A program that is refused raises what it raised; ``PROGRAMS[-1]`` has what was registered.
    """
    program = Program()
    PROGRAMS[:] = [program]
    monitor = _Monitor(program)
    mocks.set_mocks(_Outputs(), "cni-benchmark", stack, preview=False, monitor=monitor)

    def keep() -> pulumi.Output[Any]:
        return pulumi.Output.all(**declare()).apply(program.outputs.update)

    mocks.test(keep)()  # type: ignore[no-untyped-call]
    return program


PROGRAMS: list[Program] = []
"""The latest one, also where it was refused."""


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
