"""The slow server, running in a server's pod for as long as it is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from bench.probes.base import Bench
from bench.session import CommandResult, Pod, Service, SessionError

DELAY_SECONDS = 0.01
SLOW_PATH = "/delay"

_SCRIPT = Path(__file__).with_name("slow_server.py")
_PORT = 8090
_READY_SECONDS = 10.0
_LONGEST_SECONDS = 120.0


@contextmanager
def slow_server(bench: Bench) -> Iterator[tuple[Bench, Callable[[], list[float]]]]:
    """Run the slow server in httpbin's pod; HTTP probes on the yielded bench ask it instead.

    The second yielded is for after the block: the waits in µs, by the server's own clock.

    :raises SessionError: it does not start, or does not end.
    """
    server, client = bench.targets.pods["httpbin"][0], bench.targets.one("fortio-client")
    argv = [sys.executable, "-I", "-S", str(_SCRIPT), str(_PORT), str(DELAY_SECONDS)]
    url = f"http://{server.ip}:{_PORT}"
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(bench.session.run, server, argv, timeout=_LONGEST_SECONDS)
        _wait_until_it_answers(bench, client, url, running)
        service = Service("slow", server.ip, _PORT)
        try:
            yield (
                replace(bench, targets=replace(bench.targets, httpbin=service)),
                lambda: _waits(running.result()),
            )
        finally:
            _get(bench, client, f"{url}/end")


def _waits(ended: CommandResult) -> list[float]:
    try:
        return [float(wait) for wait in json.loads(ended.stdout)]
    except ValueError:
        raise SessionError(f"the slow server: {ended.stderr or ended.stdout}") from None


def _wait_until_it_answers(
    bench: Bench, client: Pod, url: str, running: Future[CommandResult]
) -> None:
    retrying = Retrying(
        stop=stop_after_delay(_READY_SECONDS),
        wait=wait_fixed(0.1),
        retry=retry_if_result(lambda answered: not answered),
        retry_error_callback=lambda state: False,
        sleep=bench.clock.sleep,
    )
    if not retrying(lambda: running.done() or _get(bench, client, url)) or running.done():
        said = running.result().stderr if running.done() else "no answer"
        raise SessionError(f"the slow server did not start in {_READY_SECONDS:.0f} s: {said}")


def _get(bench: Bench, client: Pod, url: str) -> bool:
    argv = ["fortio", "curl", "-quiet", "-timeout", "2s", url]
    return bench.session.run(client, argv, timeout=_READY_SECONDS).returncode == 0
