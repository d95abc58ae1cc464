"""Erasing an image from the command line."""

import json

import pytest

from cli.main import main
from tests.api.routes.test_erasures import work_off
from tests.support.api.service import EMBEDDED, KEY, Service

pytestmark = EMBEDDED


def test_an_image_is_erased_and_the_certificate_printed(
    ready: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERENNIAL_HOME", str(ready.settings.home))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", KEY)
    images = ready.client.get("/v1/datasets/products/images").json()["data"]
    pixels = images[0]["pixels"]
    assert main(["erase", pixels, "--reason", "asked for", "--retrain", "none"]) == 0
    ordered = json.loads(capsys.readouterr().out)
    assert (ordered["images"], ordered["ordered_by"]) == ([pixels], "command line")
    assert main(["certificate", ordered["id"]]) == 1
    assert "erasing" in capsys.readouterr().err
    work_off(ready, 1)
    assert main(["certificate", ordered["id"]]) == 0
    proof = json.loads(capsys.readouterr().out)
    assert (proof["status"], proof["drafts"]) == ("done", ["products"])
