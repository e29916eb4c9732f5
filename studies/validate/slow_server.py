"""An HTTP server that waits before it answers, and notes how long it really waited.

Run by path in a server's pod, with an interpreter and nothing else. Each connection has a thread
and waits by clock_nanosleep(2), which is exact to some 60 µs; a Go server's timers come up to a
millisecond late, since its poller waits in whole milliseconds.

    slow_server.py PORT SECONDS

``/delay`` waits SECONDS, any other path does not; ``/end`` ends the server, which then prints the
waits in µs as a JSON list.
"""

import json
import socket
import sys
import threading
import time

BODY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def main(port: int, seconds: float) -> None:
    """Serve until somebody asks for ``/end``."""
    waits: list[float] = []
    ended = threading.Event()
    with socket.create_server(("", port), backlog=128) as listener:
        threading.Thread(target=accept, args=(listener, seconds, waits, ended), daemon=True).start()
        ended.wait()
    print(json.dumps([round(1e6 * wait, 1) for wait in waits]))


def accept(
    listener: socket.socket, seconds: float, waits: list[float], ended: threading.Event
) -> None:
    """Give every connection a thread."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(
            target=serve, args=(connection, seconds, waits, ended), daemon=True
        ).start()


def serve(
    connection: socket.socket, seconds: float, waits: list[float], ended: threading.Event
) -> None:
    """Answer the requests of one connection, which have no body."""
    with connection:
        text = b""
        while received := connection.recv(4096):
            text += received
            while b"\r\n\r\n" in text:
                request, _, text = text.partition(b"\r\n\r\n")
                path = request.split(b" ", 2)[1]
                if path.startswith(b"/delay"):
                    start = time.perf_counter()
                    time.sleep(seconds)
                    waits.append(time.perf_counter() - start)
                connection.sendall(BODY)
                if path == b"/end":
                    ended.set()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
