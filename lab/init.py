"""Process 1 of a sandbox: adopts and reaps orphans until it gets the signal to end.

Run by path with ``python3 -I -S init.py <lab id>`` so that it needs nothing but the interpreter.
When it ends, the kernel ends every process of its PID namespace (pid_namespaces(7)), and with
the last of them go the network and mount namespaces.
"""

import os
import signal
import sys


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # A blocked SIGCHLD is collected by sigwait instead of interrupting anything.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    main()
