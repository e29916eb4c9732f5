"""A DNS server that answers every query for an A record with 10.100.0.1.

Run as ``dns_responder.py ADDRESS PORT``. It stands in for the cluster's DNS where there is none.
"""

from __future__ import annotations

import socket
import struct
import sys

_ANSWER = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 30, 4, socket.inet_aton("10.100.0.1"))
_HEADER_BYTES = 12


def answer(query: bytes) -> bytes:
    """The response to one query (RFC 1035, section 4): its question, and one record."""
    end = query.index(b"\0", _HEADER_BYTES) + 5
    header = query[:2] + struct.pack("!HHHHH", 0x8580, 1, 1, 0, 0)
    return header + query[_HEADER_BYTES:end] + _ANSWER


def serve(address: str, port: int) -> None:
    """Answer until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((address, port))
        while True:
            query, client = listener.recvfrom(4096)
            listener.sendto(answer(query), client)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
