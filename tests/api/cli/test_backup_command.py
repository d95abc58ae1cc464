"""Backing up and restoring from the command line, and what the restored service serves."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from core.gate.rules import Verdict
from core.registry.versions import Weights
from core.values import Digest
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import KEY, Service, running, settings_of

VERSION = "/v1/models/demo/versions/2"


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


def served(service: Service) -> dict[str, Any]:
    """What a service tells of a version, and the files that it gives."""
    told: dict[str, Any] = service.client.get(VERSION).json()
    answer = service.client.get(f"{VERSION}/forgetting")
    return {
        "version": told,
        "alias": service.client.get("/v1/models/demo/aliases/production/history").json(),
        "report": answer.json(),
        "weights": service.platform.artifacts.get(told["digest"]),
        "files": files_of(service),
    }


def files_of(service: Service) -> dict[str, bytes]:
    """The files of the archive that a version is downloaded as."""
    archive = service.client.get(f"{VERSION}/download").content
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {one.name: files.extractfile(one).read() for one in files if one.isfile()}  # type: ignore[union-attr]


def test_a_restored_service_serves_the_same_digests(
    service: Service,
    home: Path,
    version: Digest,
    tmp_path: Path,
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = served(service)
    assert before["version"]["digest"] == version
    assert command("backup", home, tmp_path / "backup") == 0
    monkeypatch.delenv("PERENNIAL_DATABASE_URL", raising=False)  # SQLite, whatever it was before
    assert command("restore", tmp_path / "other", tmp_path / "backup") == 0
    with running(settings_of(tmp_path / "other")) as other:
        assert served(other) == before


def test_a_back_up_that_misses_an_artifact_fails_and_names_it(
    service: Service,
    home: Path,
    version: Digest,
    tmp_path: Path,
    command: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tensors = Weights.from_bytes(service.platform.artifacts.get(version)).tensors
    gone, bad = (tensor.digest for tensor in tensors)
    service.platform.artifacts.delete(gone)
    (service.settings.artifacts / bad[:2] / bad[2:]).write_bytes(b"other")
    assert command("backup", home, tmp_path / "backup") == 1
    told = capsys.readouterr().err
    assert f"missing, not copied: {gone}" in told
    assert f"damaged, not copied: {bad}" in told
    assert "2 artifacts are lost; everything else was copied" in told


def test_beside_rows_artifacts_alone_are_put_back(
    service: Service,
    home: Path,
    version: Digest,
    tmp_path: Path,
    command: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("backup", home, tmp_path / "backup") == 0
    before = served(service)
    with service.untouched():
        assert command("restore", home, tmp_path / "backup") == 1
    assert "restore into an empty one" in capsys.readouterr().err
    service.platform.artifacts.delete(version)
    assert command("restore", home, tmp_path / "backup", "--artifacts-only") == 0
    assert served(service) == before


def test_a_folder_that_cannot_be_written_is_told(
    service: Service, home: Path, tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert command("backup", home, tmp_path / "file" / "backup") == 1
    assert "file" in capsys.readouterr().err
