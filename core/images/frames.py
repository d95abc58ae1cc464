"""The frames that a confined process exchanges with its parent over standard input, a socket.

A request is 1 byte of task, 4 bytes of length and data; a reply is 1 byte of outcome, 4 bytes of
length and, for `OK`, the result. Before the first request it sends `READY` with the layers of its
confinement.
"""

import signal
import socket
import struct
from collections.abc import Callable, Mapping

READY = b"R"
OK, CORRUPT, TOO_LARGE = b"O", b"C", b"L"
LENGTH = struct.Struct(">I")

# The errors that libraries raise for damaged files. Any other error ends the process.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)

Reply = tuple[bytes, bytes]


def serve(
    parent: socket.socket, seconds: int, tasks: Mapping[bytes, Callable[[bytes], Reply]]
) -> None:
    """Answer requests one at a time until the parent closes the socket."""
    while head := receive(parent, 1 + LENGTH.size):
        data = receive(parent, LENGTH.unpack(head[1:])[0])
        signal.alarm(seconds)  # ends a task that hangs, even if the parent has given up
        outcome, body = attempt(tasks[head[:1]], data)
        signal.alarm(0)
        parent.sendall(frame(outcome, body))


def attempt(task: Callable[[bytes], Reply], data: bytes) -> Reply:
    """Return a task's reply; files that are damaged or need too much memory are refused."""
    try:
        return task(data)
    except MemoryError:
        return TOO_LARGE, b""
    except BROKEN:
        return CORRUPT, b""


def frame(outcome: bytes, body: bytes) -> bytes:
    """Return a reply's bytes as sent over the socket."""
    return outcome + LENGTH.pack(len(body)) + body


def receive(parent: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes, or none if the parent has closed the socket."""
    data = bytearray()
    while len(data) < size:
        block = parent.recv(min(size - len(data), 1 << 20))
        if not block:
            return b""
        data += block
    return bytes(data)
