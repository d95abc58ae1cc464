"""Backing up and restoring from the command line, and what the restored service serves."""

from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from core.gate.rules import Verdict
from core.registry.versions import Weights
from core.values import Digest
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import KEY, Service, running, settings_of


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command of the service in a folder."""

    def run(name: str, home: Path, *given: object) -> int:
        monkeypatch.setenv("PERENNIAL_HOME", str(home))
        monkeypatch.setenv("PERENNIAL_ADMIN_KEY", KEY)
        return main([name, *map(str, given)])

    return run


@pytest.fixture
def version(service: Service) -> Digest:
    """The digest of a version that the service serves."""
    model = a_root(service.platform)
    return a_candidate(service.platform, model, verdict=Verdict.PASSED).digest


def served(service: Service) -> list[bytes]:
    """What a service tells of a version, and the files that it gives."""
    model = "/v1/models/demo"
    paths = ("versions/2", "versions/2/forgetting", "versions/2/download", "aliases/production")
    return [service.client.get(f"{model}/{path}").raise_for_status().content for path in paths]


def test_a_restored_service_serves_the_same(
    service: Service,
    home: Path,
    version: Digest,
    tmp_path: Path,
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = served(service)
    assert command("backup", home, tmp_path / "backup") == 0
    monkeypatch.delenv("PERENNIAL_DATABASE_URL", raising=False)  # SQLite, whatever it was before
    assert command("restore", tmp_path / "other", tmp_path / "backup") == 0
    with running(settings_of(tmp_path / "other")) as other:
        assert served(other) == before


def test_beside_rows_artifacts_alone_are_put_back_and_what_is_lost_is_named(
    service: Service,
    home: Path,
    version: Digest,
    tmp_path: Path,
    command: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("backup", home, tmp_path / "backup") == 0
    with service.untouched():
        assert command("restore", home, tmp_path / "backup") == 1
    assert "restore into an empty one" in capsys.readouterr().err
    artifacts = service.platform.artifacts
    gone, _ = (one.digest for one in Weights.from_bytes(artifacts.get(version)).tensors)
    artifacts.delete(gone)
    assert command("backup", home, tmp_path / "again") == 1
    told = capsys.readouterr().err
    assert f"missing, not copied: {gone}" in told
    assert "1 artifact" in told
    assert command("restore", home, tmp_path / "backup", "--artifacts-only") == 0
    assert artifacts.has(gone)


def test_a_folder_that_cannot_be_written_is_told(
    service: Service, home: Path, tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert command("backup", home, tmp_path / "file" / "backup") == 1
    assert "file" in capsys.readouterr().err
