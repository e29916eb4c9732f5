"""Nested values of an installer, such as a chart's: merging them, and listing their leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cni.problems import property_path

Values = dict[str, object]
Path = tuple[str, ...]


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


def leaf_paths(tree: Mapping[str, object], above: Path = ()) -> Iterator[tuple[Path, object]]:
    """As :func:`leaves`, with the keys one by one."""
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, Mapping) and value:
            yield from leaf_paths(value, path)
        else:
            yield path, value
