"""``python -m bench``: the command line (:mod:`cli`)."""

import os
import signal
import sys


def _end_at_once(*_: object) -> None:
    os.write(sys.stderr.fileno(), b"bench: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    # To read all modules takes a second, in which Ctrl-C may come out of them as any error.
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    from cli.main import main

    signal.signal(signal.SIGINT, usual)
    sys.exit(main())
