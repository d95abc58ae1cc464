"""Requests of `classify`, `embed` and `workers`."""

import json
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from perennial import Client, ServiceError
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_root
from tests.support.api.served import Served
from tests.support.servers.scripted import Script


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
    script.replies = [JSONResponse({"model": "pets", "version": 2, "digest": "d", "data": []})]
    scripted_client.classify("pets", [path], prompts=["a {name}", "one {name}"])
    assert b'["a {name}", "one {name}"]' in script.bodies[1]


def test_images_or_texts_to_embed_are_sent(
    script: Script, scripted_client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "owl.png"
    path.write_bytes(picture(1))
    reply = {"model": "pets", "version": 2, "digest": "d", "width": 2, "data": []}
    script.replies = [JSONResponse(reply), JSONResponse(reply)]
    assert scripted_client.embed("pets:2", images=[path], expect_digest="d")["width"] == 2
    scripted_client.embed("pets", texts=["an owl"], encoding_format="base64")
    assert script.requests == [
        ("POST", "/v1/models/pets:2/embed"),
        ("POST", "/v1/models/pets/embed"),
    ]
    assert b'filename="owl.png"' in script.bodies[0]
    assert b'name="expect_digest"' in script.bodies[0]
    assert b"encoding_format" not in script.bodies[0]
    assert json.loads(script.bodies[1]) == {"texts": ["an owl"], "encoding_format": "base64"}


def test_images_and_texts_are_not_embedded_together(scripted_client: Client) -> None:
    for wrong in ({}, {"images": [], "texts": ["an owl"]}):
        with pytest.raises(ValueError, match="either images or texts"):
            scripted_client.embed("pets", **wrong)


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
