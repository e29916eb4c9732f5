"""Facts of a CNI have one owner: no code outside ``cni/`` tells CNIs apart or knows a version."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from cni.registry import DATAPLANES

ROOT = Path(__file__).parents[1]
ROOMS = ("bench", "cli", "components", "kube", "lab", "report", "studies")

CNI_PARTS = (
    "components/eks/dataplane/",  # a CNI's part on EKS, and the registry of these
    "components/kubeconfig/target.py",  # the registry of installers
    "components/kubernetes/cilium.py",  # the release of Cilium's chart
    "lab/dataplane/",  # a CNI's part in the lab, and the registry of these
    "lab/toolchain/programs.py",  # the CNIs that the lab has programs of
    "studies/experiments/scale/services.py",  # what Cilium's agent counts of its Service maps
)
"""Where code may name a CNI, as a registry's key or in that CNI's own part. None may compare."""

VERSIONED = (
    "bench/workloads.py",  # the images of the workloads
    "lab/dataplane/",  # versions of formats in the CNIs' own parts
    "lab/toolchain/bootstrap.py",  # the installer that everything starts with
    "lab/toolchain/build.py",  # the Go release that compiles the programs
    "lab/toolchain/doctor.py",  # the oldest kernel
)
"""Where code may name a version of a program."""

# Three numbers; four are an address.
_VERSION = re.compile(r"(?<![\d.])v?\d+\.\d+\.\d+(?![\d.]*\d)")
# Settings and results hold a CNI's name and version in variables of these names.
_OF_A_CNI = re.compile(r"(?<![\w-])(cni|cni_name|cni_version|cniVersion)(?![\w-])")


def _texts(node: ast.AST) -> Iterator[ast.Constant]:
    """Every text below a node except docstrings."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child
        yield from _texts(child)


def _operands(node: ast.AST) -> list[ast.expr]:
    """What a comparison compares: of an operator, of ``case``, of a text's own methods."""
    match node:
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.MatchValue():
            return [node.value]
        case ast.Match():
            values = (each for case in node.cases for each in ast.walk(case.pattern))
            return [
                node.subject,
                *(each.value for each in values if isinstance(each, ast.MatchValue)),
            ]
        case ast.Call(func=ast.Attribute(value=text, attr="startswith" | "endswith"), args=args):
            return [text, *args]
        case ast.Call(func=ast.Name(id="isinstance"), args=args):
            return args[1:]
    return []


def _tells_apart(operand: ast.expr) -> bool:
    """Whether it names a CNI: its name, a version, or its class."""
    texts = {operand.value} if isinstance(operand, ast.Constant) else set()
    texts |= {text.value for text in _texts(operand)}
    classes = {type(each).__name__ for each in DATAPLANES.values()}
    return any(
        isinstance(text, str) and (text in DATAPLANES or _VERSION.fullmatch(text)) for text in texts
    ) or any(
        (isinstance(node, ast.Name) and node.id in classes)
        or (isinstance(node, ast.Attribute) and node.attr in classes)
        for node in ast.walk(operand)
    )


def _compares_literals(node: ast.AST) -> bool:
    operands = _operands(node)
    if any(map(_tells_apart, operands)):
        return True
    # A CNI's name or version against any text, also one that this test does not know.
    literal = any(
        isinstance(text, ast.Constant) and isinstance(text.value, str)
        for each in operands
        for text in ast.walk(each)
    )
    asked = [each for each in operands if not isinstance(each, ast.Constant)]
    return literal and any(_OF_A_CNI.search(ast.unparse(each)) for each in asked)


def offences(source: str, path: str) -> list[str]:
    """What a file must not do, one line each."""
    tree = ast.parse(source)
    return [f"{path}:{line}: {what}" for line, what in sorted(set(_offences(tree, path)))]


def _offences(tree: ast.Module, path: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.pattern) and _compares_literals(node):
            yield node.lineno, "compares a CNI's name or version"
        if isinstance(node, ast.Import | ast.ImportFrom) and not path.startswith(CNI_PARTS):
            modules = [getattr(node, "module", None), *(each.name for each in node.names)]
            if any(_is_of_one_cni(module) for module in modules if module):
                yield node.lineno, "imports one CNI's own module"
    for text in _texts(tree):
        if text.value in DATAPLANES and not path.startswith(CNI_PARTS):
            yield text.lineno, f"names the CNI {text.value}"
        if (
            isinstance(text.value, str)
            and _VERSION.search(text.value)
            and not path.startswith(VERSIONED)
        ):
            yield text.lineno, f"names a version: {text.value}"


def _is_of_one_cni(module: str) -> bool:
    folders = {name.replace("-", "_") for name in DATAPLANES}
    return any(module == f"cni.{each}" or module.startswith(f"cni.{each}.") for each in folders)


def _sources() -> Iterable[Path]:
    yield ROOT / "__main__.py"
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def test_only_cni_tells_cnis_apart_and_knows_versions() -> None:
    lines = [
        line
        for file in _sources()
        for line in offences(file.read_text(), str(file.relative_to(ROOT)))
    ]
    assert lines == []


def test_every_allowed_place_exists() -> None:
    assert [place for place in (*CNI_PARTS, *VERSIONED) if not (ROOT / place).exists()] == []


@pytest.mark.parametrize(
    "added",
    [
        'if scenario.cni == "cilium":\n    pass',
        'if scenario.cni != "some-new-cni":\n    pass',
        'if settings["cni"] in ["some-new-cni"]:\n    pass',
        'if name in ("vpc-cni", "other"):\n    pass',
        'if scenario.cni_version >= "1.17":\n    pass',
        'if agent.version == "1.16.5":\n    pass',
        'if scenario.cni.startswith("cil"):\n    pass',
        'match name:\n    case "cilium":\n        pass',
        "if isinstance(scenario.dataplane, Cilium):\n    pass",
    ],
)
@pytest.mark.parametrize("path", ["bench/results.py", "lab/dataplane/cilium/agents.py"])
def test_a_comparison_is_refused_wherever_it_is_added(added: str, path: str) -> None:
    before = (ROOT / path).read_text()
    assert offences(before, path) == []
    (line, *_) = offences(f"{before}\n\n{added}\n", path)
    assert line.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("added", "what"),
    [
        ('SUPPORTED = {"cilium": True}', "names the CNI cilium"),
        ('TITLE = DATAPLANES["vpc-cni"].title', "names the CNI vpc-cni"),
        ('HELM = "v3.16.4"', "names a version: v3.16.4"),
        ('IMAGE = f"{REGISTRY}/cilium:1.16.5"', "names a version: /cilium:1.16.5"),
        ("from cni.cilium import versions", "imports one CNI's own module"),
    ],
)
def test_facts_of_a_cni_are_refused_outside_the_allowed_places(added: str, what: str) -> None:
    before = (ROOT / "bench/results.py").read_text()
    lines = offences(f"{before}\n{added}\n", "bench/results.py")
    assert [line.partition(": ")[2] for line in lines] == [what]


def test_sources_in_docstrings_and_addresses_are_no_versions() -> None:
    source = '"""Read in Cilium 1.16.5."""\nPOOL = "10.244.0.0/16"\n'
    assert offences(source, "bench/results.py") == []
