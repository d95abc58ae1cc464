"""Samples of a trial are saved in their folder, whatever the service or a link says."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from perennial.terminal.session import KEY, URL
from tests.support.servers.scripted import scripted
from tests.unit.client.commands.conftest import Run

IMAGE, PIXELS = b"RIFF", "a" * 64

SAMPLE = {"prediction": "pred_1", "current": "boot", "candidate": "bag", "at": "2026-01-01T00:00"}

Save = Callable[[str], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that samples are saved in."""
    folder = tmp_path / "place" / "samples"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def save(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Save:
    """Save the one sample of a service, by what it says are the pixels."""

    def saved(pixels: str) -> None:
        with scripted() as script:
            script.replies = [
                JSONResponse({"id": "trial_1"}),
                JSONResponse({"data": [{"pixels": pixels, **SAMPLE}], "has_more": False}),
                Response(IMAGE),
            ]
            monkeypatch.setenv(URL, script.url)
            monkeypatch.setenv(KEY, "pk_any")
            ended = run("trial", "samples", "demo", "--to", folder)
        assert ended.code == 0, ended.err

    return saved


@pytest.mark.parametrize("name", ["../outside", "{place}/outside", "deeper/../../outside"])
def test_a_name_does_not_lead_out_of_the_folder(save: Save, folder: Path, name: str) -> None:
    save(name.format(place=folder.parent))
    (file,) = (path for path in folder.parent.rglob("*") if path.is_file())
    assert file == folder / "outside.webp"
    assert file.read_bytes() == IMAGE


@pytest.mark.parametrize("link", [f"{PIXELS}.webp", f"{PIXELS}.part"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_does_not_lead_out_of_the_folder(
    save: Save, folder: Path, link: str, exists: bool
) -> None:
    outside = folder.parent / "outside"
    if exists:
        outside.write_bytes(b"mine")
    (folder / link).symlink_to(outside)
    save(PIXELS)
    assert outside.exists() == exists
    assert not exists or outside.read_bytes() == b"mine"
    saved = folder / f"{PIXELS}.webp"
    assert saved.read_bytes() == (b"mine" if exists and link == saved.name else IMAGE)
