"""A base that is being downloaded keeps its job alive as long as it grows."""

import errno
import time
from pathlib import Path

import pytest

from core.clip.bases import read_pretrained, read_while_growing
from core.errors import CancelRequested, StorageFull
from tests.support.learning.lessons import Watching


def download(folder: Path, parts: int) -> str:
    folder.mkdir()
    with (folder / "weights").open("wb", buffering=0) as file:
        for _ in range(parts):
            file.write(b"x" * 100)
            time.sleep(0.05)
    return "loaded"


def test_growth_is_told_in_bytes(tmp_path: Path) -> None:
    monitor, cache = Watching(), tmp_path / "cache"
    result = read_while_growing(
        lambda: download(cache, 8), monitor, caches=(cache,), look_every_s=0.02
    )
    assert result == "loaded"
    sizes = [size for _, size, _ in monitor.steps]
    assert len(sizes) >= 2
    assert sizes == sorted(set(sizes))
    assert sizes[-1] <= 800


def test_download_that_finds_no_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        error = FileNotFoundError("Failed to download file.")  # as open_clip passes it on
        raise error from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("open_clip.create_model", download)
    with pytest.raises(StorageFull):
        read_pretrained("ViT-B-32", "openai")


def test_a_cancelled_import_stops(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    monitor = Watching(stop_in="loading", stop_at=100, stop_with=CancelRequested)
    with pytest.raises(CancelRequested):
        read_while_growing(lambda: download(cache, 8), monitor, caches=(cache,), look_every_s=0.02)
