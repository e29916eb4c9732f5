"""The engine's property values as plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

# Keys and values of Pulumi's wire format (sdk/proto/go/resource, `SigKey` and its signatures).
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A message as data, wrapped values still wrapped."""
    found: dict[str, Any] = json_format.MessageToDict(struct)
    return found


def message(data: Mapping[str, Any]) -> struct_pb2.Struct:
    """Data as a message."""
    made = struct_pb2.Struct()
    made.update(dict(data))
    return made


def shown(value: Any, *, secrets: bool = False) -> Any:
    """A value without its wrappings; a secret stays one where ``secrets`` are not wanted, as in the
    journal."""
    if isinstance(value, list):
        return [shown(item, secrets=secrets) for item in value]
    if not isinstance(value, dict):
        return _whole(value)
    signature = value.get(SIGNATURE)
    if signature in (SECRET, OUTPUT):
        if not secrets and (signature == SECRET or value.get("secret")):
            return "[secret]"
        return shown(value.get("value", UNKNOWN), secrets=secrets)
    return {key: shown(item, secrets=secrets) for key, item in value.items()}


def _whole(value: Any) -> Any:
    """Every number of a message is a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
