"""Rounds on disk: every finished sample is one line, so that rounds which were stopped go on.

The first line says which rounds they are. A sample counts only for the very thing that it was taken
of: a side's identity (its session's descriptor, say) is kept with it, and samples of another
identity are left out when the rounds go on.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bench.environment import Model
from bench.interleave import Entry, Keep, Order
from bench.results import SharedRounds
from bench.text import load_json, problem

SCHEMA: Final = "cni-benchmark/rounds/v2"
_ENTRY = TypeAdapter(Entry)


def write_whole(path: Path, text: str) -> None:
    """Write a file of text, whole and on the disk, or not at all: what was there stays until then.

    :raises OSError: that is not possible.
    """
    if path.exists() and not path.is_file():  # a pipe, a terminal
        path.write_text(text, encoding="utf-8")
        return
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


class JournalError(Exception):
    """A file that is no journal; the message says why, and what to do."""


class RoundsHeader(Model):
    """Which rounds: their ``id`` and order, the seed that made it, and the plan of the samples."""

    schema_: Literal["cni-benchmark/rounds/v2"] = Field(default=SCHEMA, alias="schema")
    id: str
    labels: list[str]
    seed: int | None = None
    order: Order
    plan: dict[str, Any]

    def shared(self) -> SharedRounds:
        """As the results of these rounds name them."""
        return SharedRounds(id=self.id, labels=self.labels, seed=self.seed)


def line_of(entry: Entry, identity: str) -> str:
    """A sample as a journal has it.

    :param identity: of its side.
    """
    return json.dumps({"identity": identity, **_ENTRY.dump_python(entry, mode="json")})


class Journal:
    """The samples of one file."""

    def __init__(self, path: Path, header: RoundsHeader) -> None:
        self.path = path
        self.header = header

    @classmethod
    def begin(cls, path: Path, header: RoundsHeader) -> "Journal":
        """Start an empty journal, in place of any that was there.

        :raises OSError: it cannot be written.
        """
        write_whole(path, header.model_dump_json(by_alias=True) + "\n")
        return cls(path, header)

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Take up a journal; a line that was torn by a kill is cut off.

        :raises JournalError: it is none.
        :raises OSError: it cannot be read or written.
        """
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        try:
            header = RoundsHeader.model_validate_json(whole.partition(b"\n")[0])
        except ValidationError as error:
            raise JournalError(
                f"{path}: no journal of rounds: {problem(error, 'first line')}. Fix: remove it"
            ) from None
        return cls(path, header)

    def entries(self, identities: Mapping[str, str]) -> list[Entry]:
        """The samples of sides that are still what they were.

        :param identities: by label.
        :raises JournalError: a line is damaged.
        """
        return [
            entry for entry, identity in self._read() if identities.get(entry.label) == identity
        ]

    def strays(self, identities: Mapping[str, str]) -> frozenset[str]:
        """Labels with samples of another identity than they have now."""
        return frozenset(
            entry.label
            for entry, identity in self._read()
            if identities.get(entry.label, identity) != identity
        )

    def keep(self, identities: Mapping[str, str]) -> Keep:
        """What appends every finished sample, on the disk when it returns."""

        return lambda entry: self.add(line_of(entry, identities[entry.label]))

    def add(self, line: str) -> None:
        """Append a sample's line (:func:`line_of`), on the disk when it returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[tuple[Entry, str]]:
        latest: dict[tuple[int, str, str, str], tuple[Entry, str]] = {}
        # Not by splitlines: a reason may have what ends lines elsewhere, such as U+2028.
        lines = self.path.read_bytes().rstrip(b"\n").split(b"\n")
        for number, line in enumerate(lines[1:], 2):
            try:
                data = load_json(line)
                identity = str(data.pop("identity"))
                entry = _ENTRY.validate_python(data)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                why = problem(error, "sample") if isinstance(error, ValidationError) else error
                raise JournalError(
                    f"{self.path}, line {number}: damaged: {why}. Fix: remove the file; the "
                    "rounds begin anew"
                ) from None
            # A sample that was missing may have been taken later: the last one holds.
            latest[(entry.round, entry.label, entry.probe, identity)] = (entry, identity)
        return list(latest.values())
