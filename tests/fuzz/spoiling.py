"""Made-up inputs for readers: what somebody really wrote, spoiled in places, or nothing like it."""

from __future__ import annotations

import copy
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hypothesis import strategies as st

#: Where numbers stand in a text, these do as well: what tools print that divide by nothing, more
#: digits than Python reads, and what is no number.
NUMBERS = (
    "nan", "NaN", "-nan", "inf", "Infinity", "-Infinity", "0", "-0.0", "-1", "1e999", "-1e999",
    "1e-320", "9" * 5000, "18446744073709551616", "0x10", "1,5", "", "null", '""', "[]", "{}",
    "true", "٣",
)  # fmt: skip
_DEEP = "[" * 100_000
#: Anywhere in a text.
_INSERTED = ("\x00", "\n", "\r", '"', "{", "}", "\u2028", "\ud800", "<script>alert(1)</script>")
#: In the place of any part of JSON data.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**64, 10**400, 0.0, -0.0, 1e308, float("nan"), float("inf"),
    float("-inf"), "", "0", "x", "\x00", "\ud800", "<b>", "a\nb", [], [0], {}, {"": 0},
    [float("nan")],
)  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_HANG_SECONDS = 120


@contextmanager
def in_time() -> Iterator[None]:
    """Fails where one case takes so long that it must hang; a slow machine does not."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"not done within {_HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(_HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def spoiled_text(draw: st.DrawFn, originals: Sequence[str]) -> str:
    """One of the originals with some changes, or something else altogether."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.sampled_from(("", _DEEP, '{"a":' * 50_000)) | st.text(max_size=200))
    text = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(0, 4))):
        text = draw(_changed(text, originals))
    return text


@st.composite
def _changed(draw: st.DrawFn, text: str, originals: Sequence[str]) -> str:
    numbers = [match.span() for match in _NUMBER.finditer(text)]
    what = draw(st.sampled_from(("number", "number", "number", "cut", "drop", "twice", "insert")))
    if what == "number" and numbers:
        start, end = draw(st.sampled_from(numbers))
        return text[:start] + draw(st.sampled_from(NUMBERS)) + text[end:]
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    if what == "cut":
        return text[:end]
    if what == "drop":
        return text[:start] + text[end:]
    if what == "twice":
        return text[:end] + text[start:]
    other = draw(st.sampled_from(originals))
    return text[:start] + draw(st.sampled_from((*_INSERTED, other))) + text[start:]


@st.composite
def spoiled_data(draw: st.DrawFn, originals: Sequence[Any]) -> Any:
    """JSON data like one of the originals, with parts that are other values, gone or unknown."""
    data = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 4))):
        places = list(_places(data))
        if not places:
            return draw(st.sampled_from(VALUES))
        container, key = draw(st.sampled_from(places))
        what = draw(st.sampled_from(("value", "value", "value", "drop", "add", "swap")))
        if what == "value":
            container[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif what == "drop":
            del container[key]
        elif what == "add" and isinstance(container, dict):
            container[draw(st.sampled_from(("", "x", "schema", "a.b", "0")))] = 1
        else:
            from_, place = draw(st.sampled_from(places))
            container[key] = copy.deepcopy(from_[place]) if from_ is not container else None
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys or positions."""
    keys: Callable[[], Any] = data.keys if isinstance(data, dict) else lambda: range(len(data))
    if isinstance(data, dict | list):
        for key in list(keys()):
            yield data, key
            yield from _places(data[key])
