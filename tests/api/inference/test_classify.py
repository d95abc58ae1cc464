"""Classify: what the inference process is asked, what its answers become, and what is refused."""

import io
import json
import socket
import threading
from typing import Any

import pytest
from PIL import Image
from starlette.responses import JSONResponse, Response

from api.http.json_bodies import AT_ONCE, parse
from api.inference import classify
from core.images.inputs import ImageInput
from core.images.pixels import tower_pixels
from core.registry.versions import Model
from tests.support.api.image_files import image_part, picture
from tests.support.api.oracle import Oracle
from tests.support.api.service import Service, code_of

TWO = {"classes": '["a", "b"]'}

CLASSIFY = "/v1/models/demo/classify"

OF_VERSION = "/v1/models/demo:2/classify"


def test_a_version_answers_over_what_it_has_learned(
    service: Service, oracle: Oracle, model: Model
) -> None:
    answer = service.client.post("/v1/models/demo:2/classify", files=[image_part(1), image_part(2)])
    assert answer.status_code == 200, answer.text
    version = service.client.get("/v1/models/demo/versions/2").json()
    assert (answer.json()["version"], answer.json()["digest"]) == (2, version["digest"])
    assert [row["file"] for row in answer.json()["data"]] == ["1.png", "2.png"]
    assert answer.json()["data"][0]["predictions"][0] == {"class": "boot", "probability": 0.5}
    assert oracle.asked["digest"] == version["digest"]
    assert oracle.asked["prompts"] == ["a photo of a boot.", "a photo of a bag."]
    assert oracle.request_id == answer.headers["x-request-id"]
    assert oracle.key == "Bearer pk_that-inference-knows"
    stored = [service.services.decoder.decode(picture(seed)).data for seed in (1, 2)]
    wanted = ImageInput(height=224, width=224)  # of the pixels that evaluation reads
    read = [tower_pixels(Image.open(io.BytesIO(data)), wanted).tobytes() for data in stored]
    assert oracle.asked["pixels"] == b"".join(read)


def test_classes_prompt_and_top_k_are_the_callers_choice(
    service: Service, oracle: Oracle, model: Model
) -> None:
    data = {"classes": '["Cat", "dog", "Cat"]', "prompt": "one {name}", "top_k": "1"}
    answer = service.client.post(CLASSIFY, files=[image_part(1)], data=data)
    assert [row["class"] for row in answer.json()["data"][0]["predictions"]] == ["Cat"]
    assert oracle.asked["prompts"] == ["one cat", "one dog"]


def test_several_prompts_stand_for_a_class_and_are_sent_once(
    service: Service, oracle: Oracle, model: Model
) -> None:
    data = {"classes": '["Cat", "dog"]', "prompts": '["one {name}", "a {name}."]'}
    for _ in range(2):
        answer = service.client.post(CLASSIFY, files=[image_part(1)], data=data)
        rows = answer.json()["data"][0]["predictions"]
        assert [row["class"] for row in rows] == ["Cat", "dog"]
    assert list(oracle.known.values()) == [["one cat", "a cat.", "one dog", "a dog."]]
    assert oracle.templates == [2]
    oracle.known.clear()  # as after a restart
    assert service.client.post(CLASSIFY, files=[image_part(1)], data=data).status_code == 200
    assert oracle.templates == [2, 2]


def test_every_kind_of_reference_is_resolved(service: Service, model: Model) -> None:
    digest = service.client.get("/v1/models/demo/versions/2").json()["digest"]
    for reference, version in (
        ("demo", 1),
        ("demo@production", 1),
        ("demo:2", 2),
        (f"demo@sha256:{digest}", 2),
    ):
        path = f"/v1/models/{reference}/classify"
        answer = service.client.post(path, files=[image_part(1)], data=TWO)
        assert answer.json()["version"] == version
    answer = service.client.post("/v1/models/demo:٢/classify", files=[image_part(1)], data=TWO)
    assert code_of(answer) == (404, "version_not_found")


QUESTIONS = [
    ({"classes": "boot"}, 422, "field_invalid"),
    ({"classes": "[" * 100_000}, 422, "field_invalid"),
    ({"classes": '["a", ""]'}, 422, "class_invalid"),
    ({"prompts": '["a {name}", "no slot"]'}, 422, "prompt_invalid"),
    ({"prompts": '["a {name}"]', "prompt": "a {name}"}, 422, "field_invalid"),
    ({"prompts": json.dumps(["no slot"] * 5001)}, 422, "field_invalid"),  # counted first
    ({"expect_digest": "0" * 64}, 409, "embedding_space_changed"),
    ({"model": "x"}, 422, "field_unknown"),
]


def test_a_question_that_cannot_be_asked(service: Service, model: Model) -> None:
    for data, status, code in QUESTIONS:
        assert code_of(service.client.post(OF_VERSION, files=[image_part(1)], data=data)) == (
            status,
            code,
        ), data


def test_only_a_short_list_is_parsed_on_the_event_loop(
    service: Service, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def parse_seen(text: str, **place: str) -> Any:
        threads.append(threading.get_ident())
        return parse(text, **place)

    monkeypatch.setattr(classify, "parse", parse_seen)
    for name in ("classes", "prompts"):
        for text in ("[1]", "[1" + " " * AT_ONCE + "]"):
            answer = service.client.post(OF_VERSION, files=[image_part(1)], data={name: text})
            assert answer.json()["errors"][0]["pointer"] == f"/{name}"
    loop = service.client.portal.call(threading.get_ident)  # type: ignore[union-attr]
    assert [thread == loop for thread in threads] == [True, False] * 2


def test_a_version_without_weights_is_not_served(service: Service, model: Model) -> None:
    digest = service.client.get("/v1/models/demo/versions/2").json()["digest"]
    (stored,) = service.settings.artifacts.rglob(f"*{digest[4:]}*")
    stored.unlink()
    answer = service.client.post(OF_VERSION, files=[image_part(1)])
    assert code_of(answer) == (409, "not_servable")


ANSWERS = [
    (JSONResponse({"code": "artifact_missing", "message": "gone"}, 404), 409, "not_servable"),
    (JSONResponse({"code": "field_invalid", "message": "no"}, 422), 422, "field_invalid"),
    (Response("oops", 500), 503, "inference_unavailable"),
    (JSONResponse({"code": "unauthorised", "message": "no"}, 401), 503, "inference_unavailable"),
    (JSONResponse({"code": "inference_busy", "message": "no"}, 503), 503, "inference_busy"),
    (JSONResponse({"code": "engine_unavailable", "message": ""}, 503), 503, "engine_unavailable"),
]


def test_what_the_inference_process_refuses(service: Service, oracle: Oracle, model: Model) -> None:
    for answer, status, code in ANSWERS:
        oracle.answer = answer
        told = service.client.post(OF_VERSION, files=[image_part(1)])
        assert code_of(told) == (status, code), code
        assert ("retry-after" in told.headers) == told.json()["retryable"] == (status == 503)


def test_no_inference_process(service: Service, model: Model) -> None:
    service.services.inference.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    away = type(service.services.inference)(
        service.settings.model_copy(update={"inference_url": f"http://127.0.0.1:{port}"})
    )
    object.__setattr__(service.services, "inference", away)
    answer = service.client.post(OF_VERSION, files=[image_part(1)])
    assert code_of(answer) == (503, "inference_unavailable")
    assert answer.headers["retry-after"]
