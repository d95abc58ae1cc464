"""The embedded service of the release that comes first on the path, and what is asked of it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from devtools.servers import free_port

KEY = "pk_a-key-that-only-tests-know-of"

SETTINGS = {
    "ADMIN_KEY": KEY,
    "THREADS": "1",
    "CHECKPOINT_SECONDS": "0.1",
    "LEASE_SECONDS": "4",
    "ROOT_FOLDERS": '["base"]',
}


@contextmanager
def service(
    home: str, *, end: Callable[[psutil.Popen], None] = psutil.Popen.terminate
) -> Iterator[httpx.Client]:
    """Run the embedded service of the past release on a home."""
    port, inference = str(free_port()), str(free_port())
    settings = {**SETTINGS, "HOME": home, "PORT": port, "INFERENCE_PORT": inference}
    environment = {f"PERENNIAL_{name}": value for name, value in settings.items()}
    process = psutil.Popen(
        [sys.executable, "-m", "api", "serve"], env={**os.environ, **environment}
    )
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {KEY}"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            wait_for(lambda: is_ready(client))
            yield client
    finally:
        end(process)
        process.wait()


def kill(process: psutil.Popen) -> None:
    """Kill a process and all that it has started, so that none of them ends its work."""
    for each in [process, *process.children(recursive=True)]:
        each.kill()


def finish(client: httpx.Client, job: str) -> int:
    """Wait until a job has succeeded; the version that it made."""

    def end() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        return found if found["done"] else None

    ended = wait_for(end)
    assert ended["status"] == "succeeded", ended
    return int(ended["result"]["version"])


def has_checkpoint(client: httpx.Client, job: str, *, after: int) -> bool:
    """Return whether a job has kept a checkpoint after a step."""
    events = client.get(f"/v1/jobs/{job}/events", params={"limit": 200}).json()["data"]
    return any(event["kind"] == "checkpoint" and event["data"]["step"] > after for event in events)


def digest_of(client: httpx.Client, number: int) -> str:
    """Return the digest of a version."""
    return str(client.get(f"/v1/models/line/versions/{number}").json()["digest"])


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def send(client: httpx.Client, path: str, **sent: Any) -> dict[str, Any]:
    """Post something; the answer, which must be a success."""
    answer = client.post(path, **sent)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_for(what: Callable[[], Any]) -> Any:
    """Return the first true answer."""
    while not (found := what()):
        time.sleep(0.02)
    return found
