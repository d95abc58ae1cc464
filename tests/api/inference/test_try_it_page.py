"""The page that asks versions about an image."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.principal import Role
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.image_files import picture
from tests.support.api.oracle import Oracle, settings_with
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service, running

HERE = "/ui/models/asked/try"

SCRIPT = "<script>alert(3)</script>"


@pytest.fixture(scope="module")
def asked(
    ready_home: Path, tmp_path_factory: pytest.TempPathFactory, oracle: Oracle
) -> Iterator[Service]:
    """A service with an inference process, and a model whose newest version is not live."""
    home = tmp_path_factory.mktemp("asked") / "home"
    shutil.copytree(ready_home, home)
    with running(settings_with(oracle, home)) as service:
        service.client.headers.pop("Authorization")
        model = a_root(service.platform, "asked")
        a_candidate(service.platform, model, teaches=("hat", SCRIPT))
        yield service


def send(browser: Browser, **fields: str) -> httpx.Response:
    sent = {"token": browser.token()} | fields
    files = {"images": ("a.png", picture(1), "image/png")}
    headers = browser._headers({})
    return browser.client.post(HERE, data=sent, files=files, headers=headers)


def test_every_version_chooses_from_the_classes_of_the_newest(asked: Service) -> None:
    viewer = browser_of(asked, Role.VIEWER)
    form = viewer.get(HERE).text
    assert "version 1 (live, root)" in form
    assert "version 2 (newest)" in form
    text = send(viewer).text
    assert text.count("<meter") == 4
    assert "50.0 %" in text
    assert "&lt;script&gt;alert(3)" in text
    assert SCRIPT not in text
    chosen = send(viewer, classes="  cup \n\nplate\n").text
    assert chosen.count("cup</td>") == chosen.count("plate</td>") == 2
