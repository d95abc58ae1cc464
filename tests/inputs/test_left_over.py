"""Files that no row names are reported, in the store and beside it."""

from pathlib import Path

from core import bootstrap
from core.settings import Settings
from tests.inputs.left_over import unaccounted


def test_files_that_no_row_names_are_told_wherever_they_lie(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    settings = Settings(home=home)
    bootstrap.migrate(settings)
    before = set(tmp_path.rglob("*"))
    assert unaccounted(tmp_path, home, before=before) == []
    digest = bootstrap.artifacts_of(settings).put(b"no row names it")
    stray = ["evil.png", "home/evil.png", "home/artifacts/00/.new-evil"]
    for name in stray:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = unaccounted(tmp_path, home, before=before)
    assert found == sorted([*stray, f"home/artifacts/{digest[:2]}/{digest[2:]}"])
