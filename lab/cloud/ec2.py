"""The EC2 API of a lab: moto's server with our extension, which writes down who called what.

Run inside the sandbox: ``python -m lab.cloud.ec2 ADDRESS PORT INSTANCE_TYPE CALLS``.
"""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

from lab.cloud import extension
from lab.cloud.api import DOORBELL
from lab.cloud.calls import Call

_StartResponse = Callable[..., Any]


class Recorder:
    """A WSGI application around moto's: one request at a time, each one a line in a file.

    After every change it rings (:data:`lab.cloud.api.DOORBELL`), so that whoever plays the
    hypervisor need not ask all the time.
    """

    def __init__(self, app: Any, calls: Path) -> None:
        self._app = app
        self._calls = calls
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # moto's models have no locks, and an address must be given once.
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        form = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(form)
        told: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            told.append(status)
            return start_response(status, headers, exc_info)

        with self._lock:
            body = b"".join(self._app(environ, start))
            call = Call.of(environ.get("HTTP_AUTHORIZATION", ""), form, told[0], body)
            with self._calls.open("a") as file:
                file.write(call.to_json() + "\n")
        if call.changes:
            with contextlib.suppress(OSError):  # nobody there: who starts looks at everything
                self._bell.sendto(b"\0", socket.MSG_DONTWAIT, DOORBELL)
        return [body]


def main() -> None:
    address, port, instance_type, calls = sys.argv[1:]
    extension.install(instance_type)
    app = DomainDispatcherApplication(create_backend_app)
    # Made at the first request otherwise, which would wait seconds for it.
    app.app_instances["ec2"] = create_backend_app("ec2")
    recorder = Recorder(app, Path(calls))
    run_simple(address, int(port), recorder, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
