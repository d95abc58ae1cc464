"""A real S3 server in a process and on a port of its own: moto's, with all data in its memory."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from devtools.servers.ports import free_port

START_S = 60.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "open-sesame-0123"}


@contextmanager
def s3_server(
    program: str = "moto.server", port: int | None = None
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start a server; yield its URL and its process, and kill it at the end.

    `program` is a module with moto's options.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", program, "-H", "127.0.0.1", "-p", str(port)],
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
    until = time.monotonic() + START_S
    with httpx.Client(timeout=2.0) as client:
        while time.monotonic() < until and process.poll() is None:
            try:
                client.get(f"{url}/moto-api/")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError("moto's S3 server is not installed. Run: pip install --group dev")
