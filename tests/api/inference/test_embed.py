"""Embed: vectors of images and texts, in the order they were sent."""

import base64
from struct import unpack
from typing import Any

import pytest

from api.inference.embed import MAX_TEXT
from api.inference_client.questions import MAX_BYTES
from core.images.inputs import ImageInput
from tests.support.api import image_files as pictures
from tests.support.api.image_files import image_part, picture
from tests.support.api.oracle import WIDTH, Oracle, vector_of
from tests.support.api.service import EMBEDDED, Service, code_of

pytestmark = [EMBEDDED, pytest.mark.usefixtures("model")]

EMBED = "/v1/models/demo/embed"

IMAGE = [image_part(1)]

TEXTS = ["a boot", "ein Stiefel, größer", "🥾"]


def own(service: Service, seed: int) -> list[float]:
    pixels = service.services.decoder.pixels(picture(seed), ImageInput(height=224, width=224))
    return floats(vector_of(pixels))


def floats(row: bytes) -> list[float]:
    return list(unpack(f"<{WIDTH}f", row))


def test_texts_get_vectors_in_their_order_from_the_version_that_is_named(
    service: Service, oracle: Oracle
) -> None:
    for reference, number in (("demo", 1), ("demo@production", 1), ("demo:2", 2)):
        answer = service.client.post(f"/v1/models/{reference}/embed", json={"texts": TEXTS})
        assert answer.status_code == 200, answer.text
        version = service.client.get(f"/v1/models/demo/versions/{number}").json()
        told = {name: answer.json()[name] for name in ("model", "version", "digest", "width")}
        wanted = {"model": "demo", "version": number, "digest": version["digest"], "width": WIDTH}
        assert told == wanted
        assert answer.json()["data"] == [
            {"file": None, "embedding": floats(vector_of(text.encode())), "error": None}
            for text in TEXTS
        ]
        assert oracle.asked == {"digest": version["digest"], "texts": TEXTS}


def test_images_get_vectors_in_their_order_and_refusals_by_name(service: Service) -> None:
    files = [image_part(1), ("images", ("bad.tiff", pictures.tiff())), image_part(2)]
    rows = service.client.post(EMBED, files=files).json()["data"]
    assert [row["file"] for row in rows] == ["1.png", "bad.tiff", "2.png"]
    assert [row["embedding"] for row in rows] == [own(service, 1), None, own(service, 2)]
    assert [(row["error"] or {}).get("code") for row in rows] == [None, "unsupported_image", None]
    assert code_of(service.client.post(EMBED, files=[files[1]])) == (415, "unsupported_image")
    all_bad = service.client.post(EMBED, files=[files[1], files[1]])
    assert code_of(all_bad) == (422, "all_rejected")


def test_base64_is_that_of_the_same_values(service: Service) -> None:
    form = {"files": IMAGE, "data": {"encoding_format": "base64"}}
    asked = {"json": {"texts": TEXTS[:1], "encoding_format": "base64"}}
    for sent, wanted in ((form, own(service, 1)), (asked, floats(vector_of(TEXTS[0].encode())))):
        (row,) = service.client.post(EMBED, **sent).json()["data"]
        assert floats(base64.b64decode(row["embedding"], validate=True)) == wanted


def test_another_digest_than_the_expected_one_is_refused(service: Service) -> None:
    digest = service.client.get("/v1/models/demo/versions/1").json()["digest"]
    for expected, status in ((digest, 200), (f"sha256:{digest}", 200), ("0" * 64, 409)):
        texts = {"texts": ["a"], "expect_digest": expected}
        form = {"files": IMAGE, "data": {"expect_digest": expected}}
        for answer in (service.client.post(EMBED, **form), service.client.post(EMBED, json=texts)):
            assert answer.status_code == status
            assert answer.is_success or answer.json()["code"] == "embedding_space_changed"


REFUSED = [
    ({"json": {}}, 422, "field_invalid", "/texts"),
    ({"json": {"texts": ["a", ""]}}, 422, "field_invalid", "/texts/1"),
    ({"json": {"texts": ["a" * (MAX_TEXT + 1)]}}, 422, "field_invalid", "/texts/0"),
    ({"json": {"texts": ["a"], "encoding_format": "int8"}}, 422, "field_invalid", None),
    ({"data": {"encoding_format": "int8"}, "files": IMAGE}, 422, "field_invalid", None),
    ({"data": {"texts": "a"}, "files": IMAGE}, 422, "field_unknown", "/texts"),
    ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed", ""),
]


def test_what_cannot_be_embedded_is_refused_where_it_stands(
    service: Service, oracle: Oracle
) -> None:
    for sent, status, code, pointer in REFUSED:
        answer = service.client.post(EMBED, **sent)
        assert code_of(answer) == (status, code), answer.text
        found = [line["pointer"] for line in answer.json()["errors"]]
        assert found == ([] if pointer == "" else [pointer or "/encoding_format"])
    assert oracle.requests == []


def test_requests_that_hold_too_many_pixels_are_told_to_come_back(
    service: Service, oracle: Oracle
) -> None:
    url = f"data:image/png;base64,{base64.b64encode(picture(1)).decode()}"
    asked: list[tuple[str, dict[str, Any]]] = [
        (EMBED, {"files": IMAGE}),
        ("/v1/models/demo/classify", {"files": IMAGE, "data": {"classes": '["a"]'}}),
        ("/v1/embeddings", {"json": {"model": "demo", "input": url}}),
    ]
    with service.services.pixels.request() as take:
        take(MAX_BYTES)
        for path, sent in asked:
            answer = service.client.post(path, **sent)
            assert code_of(answer) == (503, "inference_busy")
            assert answer.headers["retry-after"]
        assert service.client.post(EMBED, json={"texts": ["a"]}).is_success
    for path, sent in asked * 2:
        assert service.client.post(path, **sent).is_success
