"""Chromium without a window, driven over its own protocol (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
_START_SECONDS = 60.0
_ANSWER_SECONDS = 60.0
_KEYS = {"Tab": 9}


class Page:
    """One page: what it asked for, what it complained of, and what it looks like."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self._connection = connection
        self._last = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self._last += 1
        number = self._last
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv())
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(json.dumps(params))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True

    def open(self, url: str) -> None:
        """Load a page to its end."""
        self._loaded = False
        self.ask("Page.navigate", url=url)
        while not self._loaded:
            self._note(json.loads(self._connection.recv()))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """The window in CSS pixels; below 600 it is a phone's."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def media(self, kind: str = "", scheme: str = "light") -> None:
        """``print`` or a screen, light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=kind, features=features)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=9
            )

    def picture(self, file: Path) -> None:
        """The window as a PNG."""
        found = self.ask("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def page(folder: Path) -> Iterator[Page]:
    """A page of a browser of its own, which ends with the block; skips where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: make test installs it")
    profile = folder / "profile"
    with subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield Page(_connect(profile / "DevToolsActivePort", process))
        finally:
            process.terminate()


def _connect(file: Path, process: subprocess.Popen[bytes]) -> websocket.WebSocket:
    """The page's own connection, once the browser has told its port."""
    port = _port(file, process)
    listing = f"ws://127.0.0.1:{port}/devtools/browser"
    browser = websocket.create_connection(
        f"{listing}{_path(file)}", timeout=_ANSWER_SECONDS, suppress_origin=True
    )
    browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
    while (answer := json.loads(browser.recv())).get("id") != 1:
        pass
    pages = [each for each in answer["result"]["targetInfos"] if each["type"] == "page"]
    browser.close()
    return websocket.create_connection(
        f"ws://127.0.0.1:{port}/devtools/page/{pages[0]['targetId']}",
        timeout=_ANSWER_SECONDS,
        suppress_origin=True,
    )


def _port(file: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + _START_SECONDS
    while not (file.is_file() and len(file.read_text().splitlines()) == 2):
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        assert time.monotonic() < end, f"chromium did not start in {_START_SECONDS:.0f} s"
        time.sleep(0.1)
    return file.read_text().splitlines()[0]


def _path(file: Path) -> str:
    return file.read_text().splitlines()[1].removeprefix("/devtools/browser")
