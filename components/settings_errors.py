"""Refused settings as one line each: where it stands, what it is, why not, and the fix."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cni.settings import (
    CombinationError,
    Problem,
    did_you_mean,
    nearest,
    property_path,
    setting_name,
    show,
)

_Loc = tuple[int | str, ...]

# pydantic's error types, as what a setting must be. Others keep their own message.
_MUST_BE = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text: put it in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a map of values",
    "model_type": "must be a map of settings",
    "model_attributes_type": "must be a map of settings",
    "string_too_short": "must not be empty",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
}


class SettingsError(Exception):
    """A stack's settings are refused; its text is one line for each problem."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


@dataclass(frozen=True, slots=True)
class StackFile:
    """The file that a stack's settings stand in, and the commands that change it."""

    project: str
    stack: str

    @property
    def name(self) -> str:
        """The file's name, beside Pulumi.yaml."""
        return f"Pulumi.{self.stack}.yaml"

    def without_scenario(self) -> str:
        """The line for a stack that has no settings yet."""
        return (
            f"{self.name}: {self.project}:scenario: missing: a stack is one scenario. "
            f"Fix: cp Pulumi.scenario-e.yaml {self.name}, then edit it"
        )

    def stray(self, key: str, reason: str) -> str:
        """The line for a top-level key, with its namespace, that should not be there."""
        return f"{self.name}: {key}: {reason}. Fix: pulumi config rm {key} -s {self.stack}"

    def contradiction(self, problem: Problem) -> str:
        """The line for settings that cannot be together."""
        value = None if problem.value is None else show(problem.value)
        fix = self._set(problem.fix_key, problem.fix_value)
        return self._line(problem.key, value, problem.reason, fix)

    def explain(self, model: type[BaseModel], error: ValidationError) -> list[str]:
        """The lines for settings that do not fit the model of them all."""
        lines = []
        for details in error.errors():
            cause = details.get("ctx", {}).get("error")
            if isinstance(cause, CombinationError):
                section = property_path(details["loc"])
                lines += [self.contradiction(_below(section, one)) for one in cause.problems]
            else:
                lines.append(self._misfit(model, details))
        return lines

    def _misfit(self, model: type[BaseModel], details: ErrorDetails) -> str:
        loc, value = details["loc"], details["input"]
        key = property_path(loc)
        if details["type"] == "extra_forbidden":
            reason = (
                f"unknown setting{did_you_mean(str(loc[-1]), _settings_of(_owner(model, loc)))}"
            )
            return self._line(key, show(value), reason, self._set(key, None))
        proposal = _proposal(model, details)
        fix = self._set(key, proposal)
        if details["type"] == "string_type" and proposal is None and isinstance(value, int | float):
            # The command takes what looks like a number or a truth value for one.
            fix = self._set(key, value, " --type string")
        if details["type"] != "missing" and value is not None:
            return self._line(key, show(value), _reason(details), fix)
        if proposal is None:
            fix = f"add it to {self.name}, or to Pulumi.yaml for all stacks"
        return self._line(key, None, "missing", fix)

    def _line(self, key: str, value: str | None, reason: str, fix: str) -> str:
        shown = "" if value is None else f" {value}:"
        return f"{self.name}: {self.project}:{key}:{shown} {reason}. Fix: {fix}"

    def _set(self, key: str, value: object, options: str = "") -> str:
        """The command that sets a key, or removes it where value is None."""
        if isinstance(value, list | tuple):
            return self._set(f"{key}[0]", value[0])
        where = f"--path '{key}'" if re.search(r"[.\[]", key) else key
        if value is None:
            return f"pulumi config rm {where} -s {self.stack}"
        shown = shlex.quote(show(value))
        return f"pulumi config set {where} {shown}{options} -s {self.stack}"


def _below(section: str, problem: Problem) -> Problem:
    return replace(problem, key=f"{section}.{problem.key}", fix_key=f"{section}.{problem.fix_key}")


def _reason(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "literal_error":
        return f"must be {'one of ' if len(_options(details)) > 1 else ''}{context['expected']}"
    if "error" in context:
        return str(context["error"])
    return _MUST_BE.get(details["type"], details["msg"]).format_map(context)


def _options(details: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", details.get("ctx", {})["expected"])


def _proposal(model: type[BaseModel], details: ErrorDetails) -> object:
    """A value that would do, or None where the setting is best removed."""
    if details["type"] == "literal_error":
        options = _options(details)
        return nearest(str(details["input"]), options) or options[0]
    if details["type"] == "bool_type":
        return str(details["input"]).casefold() in ("true", "yes", "on", "1")
    field = _field_at(model, details["loc"])
    if field is None:
        return None
    if field.examples:
        example = field.examples[0]
        if not isinstance(example, list):
            return example
        if isinstance(details["loc"][-1], int):
            return example[0]
        return example if field.is_required() else None
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)[0]
    return None


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation is, or holds beside None."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _settings_of(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    if model is None:
        return {}
    return {setting_name(model, name): field for name, field in model.model_fields.items()}


def _owner(model: type[BaseModel], loc: _Loc) -> type[BaseModel] | None:
    """The model that the last named part of a location belongs to."""
    names = [part for part in loc if isinstance(part, str)]
    owner: type[BaseModel] | None = model
    for name in names[:-1]:
        field = _settings_of(owner).get(name)
        owner = _model_in(field.annotation) if field else None
    return owner


def _field_at(model: type[BaseModel], loc: _Loc) -> FieldInfo | None:
    """The field at a location; for an item of a list, the list's."""
    names = [part for part in loc if isinstance(part, str)]
    return _settings_of(_owner(model, loc)).get(names[-1]) if names else None
