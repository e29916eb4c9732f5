"""Runs the AWS stand-in: in this process for tests, or as a program for other processes.

    python -m tests.aws.server --port 0 --account account.json --log calls.txt

prints its URL as its first line, for AWS_ENDPOINT_URL; the account's file is read anew for every
call, so that it can change in the middle.
"""

from __future__ import annotations

import argparse
import threading
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import boto3
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from tests.aws.account import REGION, Account
from tests.aws.standin import StandIn


class AwsServer:
    """A stand-in that listens on the loopback, or on another address; a context manager.

    :param account: where the account is read from, anew for every call; None is :attr:`account`.
    :param note: gets the IAM action of every call; None is :attr:`calls`.
    """

    def __init__(
        self,
        port: int = 0,
        address: str = "127.0.0.1",
        account: Callable[[], Account] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.account = Account()
        self.calls: list[str] = []
        self._server = make_server(
            address,
            port,
            StandIn(
                account or (lambda: self.account),
                DomainDispatcherApplication(create_backend_app),
                note or self.calls.append,
            ),
            threaded=True,
            request_handler=_Quiet,
        )
        self.url = f"http://{address}:{self._server.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def warm_up(self) -> None:
        """Have moto load what it loads for the first call of a service, which takes seconds."""
        session = boto3.Session("AKIAEXAMPLE", "example", region_name=REGION)
        ec2 = session.client("ec2", endpoint_url=self.url)
        ec2.describe_instance_types(InstanceTypes=["m6i.xlarge"])
        ec2.describe_vpcs()
        session.client("eks", endpoint_url=self.url).list_clusters()
        self.calls.clear()

    def reset(self) -> None:
        """A new account, and nothing in it."""
        self.account = Account()
        self.calls.clear()
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=10).close()


class _Quiet(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


def _append(file: Path, line: str) -> None:
    with file.open("a") as log:
        log.write(f"{line}\n")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description="AWS's APIs for tests, on the loopback")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--account", type=Path, help="JSON file with fields of Account")
    parser.add_argument("--log", type=Path, help="file that gets a line for every call")
    given = parser.parse_args()
    read = (lambda: Account.read(given.account)) if given.account else None
    # On a server of its own: neither the account's faults nor its log are for this.
    with AwsServer() as plain:
        plain.warm_up()
    with AwsServer(
        given.port, account=read, note=partial(_append, given.log) if given.log else None
    ) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
