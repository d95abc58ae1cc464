"""Tests that the application leaves no thread behind when it shuts down."""

import threading
from pathlib import Path

from api.http.authentication import SESSION_COOKIE
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, running, settings_of


@EMBEDDED
def test_the_threads_of_look_ups_end_with_the_application(home: Path) -> None:
    before = threading.enumerate()
    with running(settings_of(home)) as service:
        a_root(service.platform)
        image = ("images", ("a.png", picture(1)))
        service.client.post("/v1/models/demo/classify", files=[image])  # a key and a version
        service.client.get("/ui", headers={"Cookie": f"{SESSION_COOKIE}=nobody"})
        begun = [one for one in threading.enumerate() if one not in before]
        looking_up = [one for one in begun if one.name.startswith("look-ups")]
        assert len(looking_up) == 3
    assert not any(one.is_alive() for one in looking_up)
