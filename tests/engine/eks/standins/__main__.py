"""`python -m tests.engine.eks.standins <package> <engine address>`: one provider plugin."""

from __future__ import annotations

import os
import sys
import types
from importlib.util import find_spec
from pathlib import Path


def _spare_the_sdk() -> None:
    """Importing `pulumi` takes a second of CPU, and its protobufs need nothing of it."""
    found = find_spec("pulumi")
    assert found is not None
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0])
    for name, place in (("pulumi", folder), ("pulumi.runtime", folder / "runtime")):
        module = types.ModuleType(name)
        module.__path__ = [str(place)]
        sys.modules[name] = module


def main(package: str) -> None:
    """Serve a package until the engine ends."""
    if package == "eks":
        from tests.engine.eks.standins import eks

        eks.serve()
        return
    _spare_the_sdk()
    from tests.engine.eks.standins import server

    if package == "aws":
        from tests.engine.eks.standins.install import aws_package

        server.serve(aws_package(os.environ))
    else:
        from tests.engine.eks.standins.kubernetes import Kubernetes

        server.serve(Kubernetes())


if __name__ == "__main__":
    # The engine's address is the last word, and the component's server looks for it there.
    main(sys.argv.pop(1))
