"""A scenario's settings as data, what is wrong with one, and nested values such as a chart's.

What is checked here holds for every CNI. :class:`cni.scenario.Scenario` adds the known CNIs, their
toggles, and their rules.
"""

import difflib
import ipaddress
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

KubeProxyMode = Literal["none", "iptables", "nftables"]
Ipam = Literal["vpc", "eni", "cluster-pool"]
TunnelProtocol = Literal["vxlan", "geneve"]
Asked = bool | BaseModel | None
"""What a scenario asks of one toggle: on, off, on with sizes, or nothing."""

# How every settings model reads YAML: camelCase keys, nothing unknown, no silent conversions.
SETTINGS = ConfigDict(
    frozen=True,
    extra="forbid",
    strict=True,
    alias_generator=to_camel,
    validate_by_name=True,
    validate_by_alias=True,
)


def setting_name(model: type[BaseModel], field: str) -> str:
    """The name that a model's field has in YAML."""
    alias = model.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else field


def _ipv4_network(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        network = None
    # Without a length it would be the one address.
    if network is None or "/" not in text:
        raise ValueError("must be an IPv4 network such as 10.244.0.0/16")
    return text


Cidr = Annotated[str, AfterValidator(_ipv4_network)]
"""An IPv4 network such as 10.244.0.0/16, kept as the text that it was written as."""


class Toggles(BaseModel):
    """What a scenario asks of each toggle: true, false (explicitly off), sizes, or unset.

    Unset leaves it to the CNI's default, which is not always off: with kube-proxy replacement
    Cilium's socket load-balancing is on, and with BPF masquerade so is its BPF host routing.

    The model in :class:`cni.scenario.Scenario` has a field for every toggle of every CNI.
    """

    model_config = SETTINGS

    def asked(self, name: str) -> Asked:
        """What is asked of the toggle with this name."""
        asked: Asked = getattr(self, self._fields().get(name, ""), None)
        return asked

    def every(self) -> Iterator[tuple[str, Asked]]:
        """The name of each toggle with what is asked of it."""
        return ((name, getattr(self, field)) for name, field in self._fields().items())

    def replaced(self, changes: Mapping[str, Asked]) -> Self:
        """These toggles with others asked for, by their names."""
        fields = self._fields()
        return self.model_copy(update={fields[name]: asked for name, asked in changes.items()})

    @classmethod
    def _fields(cls) -> dict[str, str]:
        return {setting_name(cls, field): field for field in cls.model_fields}


class ScenarioSettings(BaseModel):
    """The CNI, who load-balances Services, where pods' addresses come from, and the tuning."""

    model_config = SETTINGS

    title: str = Field(min_length=1, examples=["My scenario"])
    cni: str
    cni_version: str
    """Without a leading v. One that the CNI's table of versions has."""
    kube_proxy: KubeProxyMode
    kube_proxy_replacement: bool = False
    ipam: Ipam
    prefix_delegation: bool = False
    """Whole /28 prefixes on ENIs instead of single addresses: more pods per node."""
    pod_cidr: Cidr | None = Field(default=None, examples=["10.244.0.0/16"])
    """The cluster pool, of which each node takes a /24."""
    tunnel_protocol: TunnelProtocol | None = None
    toggles: Toggles = Toggles()
    values: dict[str, Any] = Field(default_factory=dict)
    """Further values for the CNI's chart, for what no setting covers."""
    strict: bool = False
    """Make a toggle that cannot be applied an error, instead of falling back and saying so."""


# -- problems -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One refused setting.

    `key` and `fix_key` are dotted paths below the object that was checked (`toggles.dsr`);
    `fix_value` is what to set `fix_key` to, or None to remove it.
    """

    key: str
    value: object
    reason: str
    fix_key: str
    fix_value: object = None

    def __str__(self) -> str:
        return f"{self.key}: {show(self.value)}: {self.reason}. Fix: {self._fix()}"

    def _fix(self) -> str:
        if self.fix_value is None:
            return f"remove {self.fix_key}"
        return f"{self.fix_key}: {show(self.fix_value)}"


class CombinationError(ValueError):
    """Settings that are each valid but contradict each other; holds every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def show(value: object) -> str:
    """A setting's value as it is written in YAML: `true`, `null`, `[a, b]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    return str(value) if value != "" else '""'


def property_path(loc: Sequence[int | str]) -> str:
    """`benchmark.httpQps[1]` or `eks.tags["a.b"]`, as `pulumi config --path` takes it."""
    return "".join(_step(part) for part in loc).removeprefix(".")


def _step(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]+", part) else f"[{json.dumps(part)}]"


def nearest(word: str, candidates: Collection[str]) -> str | None:
    """The candidate most like `word`, ignoring case, or None where nothing is close."""
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.casefold(), list(by_folded), n=1)
    return by_folded[close[0]] if close else None


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A suggestion to append to a reason, or nothing where no known name is near."""
    match = nearest(word, known)
    return f" (did you mean {match}?)" if match else ""


# -- values -------------------------------------------------------------------------------------

Values = dict[str, object]
KeyPath = tuple[str, ...]


def merge(*trees: Mapping[str, object]) -> Values:
    """Merge value trees as `helm -f a -f b` does: maps merge by key, anything later wins."""
    merged: Values = {}
    for tree in trees:
        for key, value in tree.items():
            present = merged.get(key)
            if isinstance(value, Mapping):
                merged[key] = merge(present, value) if isinstance(present, dict) else merge(value)
            else:
                merged[key] = value
    return merged


def leaves(tree: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Each dotted path with its value, `("bpf.masquerade", True)`; lists and `{}` are leaves.

    A key that has dots itself is quoted: `nodeSelector["kubernetes.io/os"]`.
    """
    for path, value in leaf_paths(tree):
        yield property_path(path), value


def leaf_paths(tree: Mapping[str, object], above: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """As :func:`leaves`, with the keys one by one."""
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, Mapping) and value:
            yield from leaf_paths(value, path)
        else:
            yield path, value
