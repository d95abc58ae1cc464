"""Collecting what nobody needs, over HTTP and from the command line."""

import json
import os
import time
from pathlib import Path

import pytest

from cli.main import main
from core.gate.rules import Verdict
from core.upkeep.rows import ArtifactRoots
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import KEY, Service, code_of


def leave_an_orphan(service: Service, *, hours: float = 1000) -> Path:
    """Bytes of an age that no row names; their file."""
    digest = service.platform.artifacts.put(f"{hours:6}".encode())
    path = service.settings.artifacts / digest[:2] / digest[2:]
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


def age_all(service: Service) -> None:
    for path in service.settings.artifacts.rglob("*"):
        os.utime(path, (0, 0))


def test_orphans_go_and_a_dry_run_tells_so_before(service: Service) -> None:
    orphan, young = leave_an_orphan(service), leave_an_orphan(service, hours=2)
    with service.untouched():
        told = service.client.post("/v1/gc", json={"dry_run": True}).json()
    done = service.client.post("/v1/gc", json={}).json()
    assert told["collected"] == done["collected"] == {"unknown": {"count": 1, "size": 6}}
    assert (told["dry_run"], done["dry_run"], done["complete"]) == (True, False, True)
    assert done["young"] == {"count": 1, "size": 6}
    assert (orphan.exists(), young.exists()) == (False, True)
    service.client.post("/v1/gc", json={"older_than_hours": 1})
    assert not young.exists()


def test_versions_that_gave_up_their_weights_say_so(service: Service) -> None:
    model = a_root(service.platform)
    for _ in range(2):
        a_candidate(service.platform, model, verdict=Verdict.FAILED)
    age_all(service)
    order = {"keep_last": 1, "versions_older_than_days": 0}
    done = service.client.post("/v1/gc", json=order).json()
    assert done["given_up"] == [{"model": model.id, "version": 2}]
    assert set(done["collected"]) == {"weights", "tensor"}
    gone = service.client.get("/v1/models/demo/versions/2").json()
    assert gone["collected_at"] is not None
    assert "download" not in gone["links"]
    answer = service.client.get("/v1/models/demo/versions/2/download")
    assert code_of(answer) == (410, "artifact_gone")
    assert service.client.get("/v1/models/demo/versions/2/forgetting").status_code == 200
    kept = service.client.get("/v1/models/demo/versions/3").json()
    assert (kept["collected_at"], "download" in kept["links"]) == (None, True)


def test_dangerous_orders_are_refused(service: Service) -> None:
    for order in [{"older_than_hours": 0.5}, {"keep_last": -1}, {"everything": True}]:
        with service.untouched():
            assert service.client.post("/v1/gc", json=order).status_code == 422


def test_the_command_does_the_same_and_fails_when_lists_are_damaged(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERENNIAL_HOME", str(service.settings.home))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", KEY)
    orphan = leave_an_orphan(service)
    assert main(["gc", "--dry-run", "--keep-last", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["collected"] == {"unknown": {"count": 1, "size": 6}}
    assert orphan.exists()
    assert main(["gc"]) == 0
    assert not orphan.exists()
    capsys.readouterr()
    a_root(service.platform)
    age_all(service)
    with service.platform.transactions(read_only=True) as work:
        (root,) = work[ArtifactRoots].weights()
    (service.settings.artifacts / root[:2] / root[2:]).write_bytes(b"damaged")
    assert main(["gc"]) == 1
    assert json.loads(capsys.readouterr().out)["unreadable"] == [root]
    assert main(["gc", "--older-than-hours", "0.1"]) == 1
    assert "older_than_hours" in capsys.readouterr().err
