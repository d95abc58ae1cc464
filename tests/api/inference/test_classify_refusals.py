"""Classify: what is refused, and what is told when the inference process cannot be asked."""

import json
import socket
import threading
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from api.http.json_bodies import AT_ONCE, parse
from api.inference import classify
from core.registry.versions import Model
from tests.support.api import image_files as pictures
from tests.support.api.image_files import image_part
from tests.support.api.oracle import Oracle
from tests.support.api.service import Service, code_of

CLASSIFY = "/v1/models/demo:2/classify"

NO_KEY = (503, "inference_unavailable")

QUESTIONS = [
    ({"classes": "boot"}, 422, "field_invalid"),
    ({"classes": "[" * 100_000}, 422, "field_invalid"),
    ({"classes": '["a", 1]'}, 422, "field_invalid"),
    ({"classes": '["a", ""]'}, 422, "class_invalid"),
    ({"prompt": "no slot"}, 422, "prompt_invalid"),
    ({"prompts": '["a {name}", "no slot"]'}, 422, "prompt_invalid"),
    ({"prompts": "a {name}"}, 422, "field_invalid"),
    ({"prompts": "[]"}, 422, "field_invalid"),
    ({"prompts": '["a {name}"]', "prompt": "a {name}"}, 422, "field_invalid"),
    ({"prompts": json.dumps(["a {name}"] * 5001)}, 422, "field_invalid"),
    ({"prompts": json.dumps(["no slot"] * 5001)}, 422, "field_invalid"),  # counted first
    ({"top_k": "0"}, 422, "field_invalid"),
    ({"top_k": "many"}, 422, "field_invalid"),
    ({"expect_digest": "0" * 64}, 409, "embedding_space_changed"),
    ({"model": "x"}, 422, "field_unknown"),
]


def test_a_question_that_cannot_be_asked(service: Service, model: Model) -> None:
    for data, status, code in QUESTIONS:
        assert code_of(service.client.post(CLASSIFY, files=[image_part(1)], data=data)) == (
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
            answer = service.client.post(CLASSIFY, files=[image_part(1)], data={name: text})
            assert answer.json()["errors"][0]["pointer"] == f"/{name}"
    loop = service.client.portal.call(threading.get_ident)  # type: ignore[union-attr]
    assert [thread == loop for thread in threads] == [True, False] * 2


def test_a_bad_text_in_a_list_is_pointed_to(service: Service, model: Model) -> None:
    for name in ("classes", "prompts"):
        data = {name: r'["a {name}", "\u0000"]'}
        answer = service.client.post(CLASSIFY, files=[image_part(1)], data=data)
        assert code_of(answer) == (422, "field_invalid")
        assert answer.json()["errors"][0]["pointer"] == f"/{name}/1"


IMAGES = [
    (pictures.tiff(), 415, "unsupported_image"),
    (b"<svg/>", 415, "unsupported_image"),
    (pictures.truncated(), 422, "image_corrupt"),
    (pictures.huge(), 422, "image_too_large"),
]


def test_a_bad_image_is_refused_by_its_reason(service: Service, model: Model) -> None:
    for data, status, code in IMAGES:
        with service.untouched():
            answer = service.client.post(CLASSIFY, files=[("images", ("a", data))])
        assert code_of(answer) == (status, code), data[:20]


def test_a_version_without_weights_is_not_served(service: Service, model: Model) -> None:
    digest = service.client.get("/v1/models/demo/versions/2").json()["digest"]
    (stored,) = service.settings.artifacts.rglob(f"*{digest[4:]}*")
    stored.unlink()
    answer = service.client.post(CLASSIFY, files=[image_part(1)])
    assert code_of(answer) == (409, "not_servable")


ANSWERS = [
    (JSONResponse({"code": "artifact_missing", "message": "gone"}, 404), 409, "not_servable"),
    (JSONResponse({"code": "field_invalid", "message": "no"}, 422), 422, "field_invalid"),
    (Response("oops", 500), 503, "inference_unavailable"),
    (JSONResponse({"code": "unauthorised", "message": "no"}, 401), *NO_KEY),
    (JSONResponse({"code": "inference_busy", "message": "no"}, 503), 503, "inference_busy"),
]


def test_what_the_inference_process_refuses(service: Service, oracle: Oracle, model: Model) -> None:
    for answer, status, code in ANSWERS:
        oracle.answer = answer
        told = service.client.post(CLASSIFY, files=[image_part(1)])
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
    answer = service.client.post(CLASSIFY, files=[image_part(1)])
    assert code_of(answer) == (503, "inference_unavailable")
    assert answer.headers["retry-after"]
