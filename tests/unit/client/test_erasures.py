"""Erasures."""

from pathlib import Path

import pytest

from perennial import ServiceError
from tests.support.api.image_files import picture
from tests.support.api.served import Served


def test_an_erasure_is_ordered_read_and_listed(served: Served, tmp_path: Path) -> None:
    served.client.datasets.create("owls")
    (tmp_path / "a.png").write_bytes(picture(1))
    (receipt,) = served.client.datasets.upload("owls", [("owl", tmp_path / "a.png")])
    erasures = served.client.erasures
    ordered = erasures.order([receipt["pixels"] or ""], reason="asked for", retrain="none")
    assert erasures.get(ordered["id"]) == ordered
    assert [one["id"] for one in erasures.list()] == [ordered["id"]]
    with pytest.raises(ServiceError, match="erasure_pending"):
        erasures.certificate(ordered["id"])
