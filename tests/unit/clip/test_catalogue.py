"""What the API knows of open_clip without having it."""

from core.bases.bases import CATALOGUE
from core.clip.catalogue import to_text


def test_the_committed_catalogue_is_that_of_the_installed_open_clip() -> None:
    committed = CATALOGUE.read_text("utf-8")
    assert committed == to_text(), f"python -m core.clip.catalogue > {CATALOGUE}"
