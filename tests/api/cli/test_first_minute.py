"""The first lines that an embedded service prints, and who may read its files and its keys."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from api.lifespan import sign_in_link
from core.access.authenticate import find_sessions, sign_in
from core.bootstrap import opened
from core.principal import Role
from core.settings import Settings
from core.values import Digest, sha256
from devtools.ports import free_port
from tests.support.api.image_files import picture
from tests.support.api.service import running
from tests.support.places import ROOT
from tests.support.processes import wait_for

KEY = "pk_known-to-this-file-alone"

LATE_S = 90  # the machine may be busy

OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, kw_only=True)
class Started:
    """A service that has just been started on a home that nobody had made."""

    home: Path
    port: int
    log: Path
    pid: int

    def says(self, words: str) -> bool:
        return words in self.log.read_text()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False)


@contextmanager
def service(folder: Path, **settings: str) -> Iterator[Started]:
    """`perennial serve`, from a user whose files are open to all."""
    home, port = folder / "data" / "home", free_port()
    given = {
        "HOME": str(home),
        "PORT": str(port),
        "ADMIN_KEY": KEY,
        "THREADS": "1",
        "DEVICE": "auto",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve"],
            cwd=ROOT,
            env=os.environ | {f"PERENNIAL_{k}": v for k, v in (given | settings).items()},
            stdout=log,
            stderr=subprocess.STDOUT,
            umask=0o022,
        )
        try:
            yield Started(home=home, port=port, log=folder / "log", pid=process.pid)
        finally:
            process.terminate()
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A service that says where it is; it is ready from that moment on."""
    with service(tmp_path_factory.mktemp("first")) as started:
        wait_for(lambda: started.says("Perennial is running at"), seconds=LATE_S, every=0.001)
        assert started.get("/readyz").status_code == 200
        yield started


def test_service_says_where_it_is_how_to_sign_in_and_what_it_trains_on(ready: Started) -> None:
    address = f"http://127.0.0.1:{ready.port}"
    assert ready.says(f"Perennial is running at {address};")
    told = [line for line in ready.log.read_text().splitlines() if not line.startswith("{")]
    (shown,) = (line for line in told if "link=" in line)
    at, link = shown.split("/ui/sign-in?link=")
    assert at == address
    token, led = link.split("&next=")
    assert led == "/ui/first-steps"
    with httpx.Client(base_url=address, trust_env=False) as browser:
        answer = browser.post("/ui/sign-in", data={"link": token, "next": led})
        assert (answer.status_code, answer.headers["location"]) == (303, led)
        assert "First steps" in browser.get(led).text
    wait_for(lambda: ready.says("Updates train on "), seconds=LATE_S)
    (on,) = ready.get("/readyz").json()["trains_on"]
    assert ready.says(f"Updates train on {on}.")
    assert re.fullmatch(r"(cpu|cuda:0) \(.+\), 1 thread; .*GPU.*", on)


def test_no_process_shows_a_key(ready: Started) -> None:
    service = psutil.Process(ready.pid)
    found = [service, *service.children()]
    assert len(found) >= 3  # the API, the supervisor, inference
    for process in found:
        assert "pk_" not in " ".join(process.cmdline())
        # A process that is just starting shows what it was given for a moment.
        wait_for(partial(hides, process), seconds=LATE_S)


def hides(process: psutil.Process) -> bool:
    return "pk_" not in str(process.environ()) or sys.platform != "linux"


def test_nobody_else_may_read_what_the_service_keeps(ready: Started) -> None:
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{ready.port}/v1",
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
    )
    with client:
        client.post("/datasets", json={"name": "pets"})
        sent = client.post("/datasets/pets/images", files=[("cat", ("a.png", picture(1)))])
        assert sent.status_code == 200
        assert client.post("/models", json={"name": "m", "base": "bundled"}).status_code == 202
    kept = [ready.home.parent, ready.home, *ready.home.rglob("*")]
    names = {path.relative_to(ready.home.parent).parts[1:2] for path in kept}
    assert {("perennial.db",), ("artifacts",), ("broker",)} <= names
    assert [path for path in kept if is_open_to_others(path)] == []


def is_open_to_others(path: Path) -> bool:
    """Return whether others may use a file; not one that the running service has just removed."""
    try:
        return bool(path.stat().st_mode & OPEN_TO_OTHERS)
    except FileNotFoundError:
        return False


def test_service_that_cannot_get_ready_says_what_it_waits_for_and_shows_its_key_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with service(tmp_path, MIN_FREE_BYTES=str(2**62), ADMIN_KEY="") as started:
        wait_for(lambda: started.says(": waiting for disk."), seconds=LATE_S)
        assert started.get("/readyz").status_code == 503
        assert not started.says("Perennial is running at")
        assert started.log.read_text().count("pk_") == 1
    with running(Settings(home=started.home, embedded=False)):
        assert "pk_" not in capsys.readouterr().out
    # Whoever has lost that key signs in by the link of a later start, except from elsewhere.
    with opened(Settings(home=started.home)) as platform:
        link = sign_in_link(platform)
        assert link is not None
        session, _ = sign_in(platform, link.take(link.token) or Digest(""))
        (opened_by,) = find_sessions(platform, [sha256(session.encode())]).values()
        assert opened_by.secret.key.role is Role.ADMIN
    with opened(Settings(home=started.home, host="0.0.0.0")) as platform:
        assert sign_in_link(platform) is None
