"""Requests of `classify` and `workers`."""

from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from perennial import Client, ServiceError
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_root
from tests.support.api.served import Served
from tests.support.scripted import Script


def test_images_classes_and_options_are_sent(
    script: Script, scripted_client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "owl.png"
    path.write_bytes(picture(1))
    script.replies = [JSONResponse({"model": "pets", "version": 2, "digest": "d", "data": []})]
    answer = scripted_client.classify("pets@production", [path], ["owl", "elk"], top_k=1)
    assert answer["version"] == 2
    assert script.requests == [("POST", "/v1/models/pets@production/classify")]
    assert b'["owl", "elk"]' in script.bodies[0]
    assert b'filename="owl.png"' in script.bodies[0]
    assert b"prompt" not in script.bodies[0]


def test_a_service_without_inference_says_so(served: Served, tmp_path: Path) -> None:
    a_root(served.platform, "pets")
    path = tmp_path / "owl.png"
    path.write_bytes(picture(1))
    with pytest.raises(ServiceError, match="503 inference_unavailable") as raised:
        served.client.classify("pets:1", [path], ["owl", "elk"])
    assert raised.value.retryable


def test_a_service_without_a_worker_is_not_ready(served: Served) -> None:
    assert served.client.workers() == []
    assert not served.client.is_ready()
