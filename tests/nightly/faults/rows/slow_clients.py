"""Clients that send a byte now and then, hang up in mid-body, or never read their answer."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import quantiles
from time import monotonic, sleep

import psutil

from api.rates import REDIS_CONNECTIONS
from tests.nightly.faults.stage import KEY, START_S, Stage, now
from tests.nightly.faults.tries import Try
from tests.support.processes import wait_for

SLOW, BROKEN, DEAF = 40, 40, 20
HEALTHY_S = 1.0  # of /healthz, whatever they do
LOOKS = 60
POOLED = 8 + REDIS_CONNECTIONS  # connections that are kept, to the database and to Redis
BODY = 400_000  # bytes that an upload promises


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """All three kinds at once."""
    stage.ready()
    answer = stage.client.post("/v1/datasets", json={"name": "besieged"})
    assert answer.status_code in {201, 409}, answer.text
    for _ in range(tries):
        yield besiege(stage, moments)


def besiege(stage: Stage, moments: Random) -> Try:
    """Ask for health while they are at it, and see what they leave behind."""
    api = psutil.Process(stage.api.pid)
    stage.client.get("/healthz")
    files, descriptors = _files(stage), api.num_fds()
    slow = [_upload(stage, moments.randbytes(200)) for _ in range(SLOW)]
    deaf = [_ask(stage) for _ in range(DEAF)]
    looks: list[float] = []
    for number in range(LOOKS):
        for client in slow:
            with suppress(OSError):
                client.send(b"x")
        if number < BROKEN:
            broken = _upload(stage, moments.randbytes(moments.randrange(100_000)))
            broken.close()
        began = monotonic()
        assert stage.client.get("/healthz").status_code == 200
        looks.append(monotonic() - began)
        sleep(0.02)
    gone = now()
    for client in (*slow, *deaf):
        client.close()
    # What is open afterwards: as much as before, but for what pools keep for the next time.
    try:
        wait_for(lambda: api.num_fds() <= descriptors + POOLED, seconds=START_S)
    except AssertionError as error:
        error.add_note(f"{descriptors} descriptors before, {api.num_fds()} now: {_open(api)}")
        raise
    left = _files(stage) - files
    worst, usual = max(looks), quantiles(looks, n=20)[18]
    trouble = f"left behind: {sorted(map(str, left))[:3]}" if left else ""
    what = f"health within {usual * 1000:.0f} ms in 95 of 100 looks, {worst * 1000:.0f} ms in all"
    slow = f"more than {HEALTHY_S} s" if usual > HEALTHY_S else ""
    return Try(what=what, trouble=trouble, recovery_s=now() - gone, slow=slow)


def _upload(stage: Stage, first: bytes) -> socket.socket:
    """Promise a form with an image, and send only the beginning."""
    head = (
        "POST /v1/datasets/besieged/images HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Length: {BODY}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="a class"; filename="a.png"\r\n\r\n'
    )
    return _send(stage, head.encode() + first)


def _ask(stage: Stage) -> socket.socket:
    """Ask for answers larger than any buffer, again and again, and read none."""
    request = (
        f"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    )
    return _send(stage, request.encode() * 50)


def _send(stage: Stage, data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", stage.settings.port), timeout=30)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(data)
    return client


def _open(api: psutil.Process) -> list[str]:
    """List what the process has open, by kind and how often."""
    kinds = Counter[str]()
    for place in Path(f"/proc/{api.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            kinds[str(place.readlink()).partition(":")[0]] += 1
    peers = Counter(f"{one.status} {one.raddr and one.raddr.port}" for one in api.net_connections())
    return [f"{count} {kind}" for kind, count in (kinds + peers).most_common(20)]


def _files(stage: Stage) -> set[Path]:
    """Every file of the service but its logs and its database's own."""
    home = stage.settings.home
    # Folders may vanish meanwhile, which `rglob` would not bear.
    found = (Path(folder) / name for folder, _, names in os.walk(home) for name in names)
    return {path for path in found if path.parent != home and "broker" not in path.parts}
