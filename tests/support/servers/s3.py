"""A real S3 server for the tests: moto's, in a process and on a port of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

STARTING_S = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "open-sesame-0123"}


@contextmanager
def s3_server() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start a server; its URL, and its process to do harm to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(url, process)
        yield url, process
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + STARTING_S
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"{url}/moto-api/", timeout=2.0)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("moto's S3 server does not start: pip install --group dev")
