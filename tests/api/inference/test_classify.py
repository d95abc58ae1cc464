"""Classify: what the inference process is asked, and what its answers become."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from core.images.child import tower_pixels
from core.inference.wire import MAX_IMAGES
from core.registry.versions import Model
from core.values import ImageInput
from tests.support.api import image_files as pictures
from tests.support.api.image_files import image_part, picture
from tests.support.api.oracle import Oracle
from tests.support.api.seeds import a_root
from tests.support.api.service import Service, code_of

TWO = {"classes": '["a", "b"]'}

CLASSIFY = "/v1/models/demo/classify"


def test_the_inference_process_hears_the_requests_id(service: Service, oracle: Oracle) -> None:
    a_root(service.platform)
    files = {"images": ("a.png", picture(1))}
    fields = {"classes": json.dumps(["cat", "dog"])}
    answer = service.client.post(CLASSIFY, data=fields, files=files)
    assert answer.status_code == 200
    assert oracle.request_id == answer.headers["x-request-id"]
    assert oracle.key == "Bearer pk_that-inference-knows"


def test_many_images_are_asked_in_parts_and_answered_in_their_order(
    service: Service, oracle: Oracle, model: Model
) -> None:
    files = [image_part(seed) for seed in range(MAX_IMAGES + 2)]
    answer = service.client.post("/v1/models/demo:2/classify", files=files)
    assert sorted(oracle.requests) == [2, MAX_IMAGES]  # both are on their way at once
    rows = answer.json()["data"]
    assert [row["file"] for row in rows] == [f"{seed}.png" for seed in range(MAX_IMAGES + 2)]
    assert all(len(row["predictions"]) == 2 for row in rows)


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


def test_the_inference_process_gets_the_pixels_that_evaluation_reads(
    service: Service, oracle: Oracle, model: Model
) -> None:
    service.client.post("/v1/models/demo:2/classify", files=[image_part(1), image_part(2)])
    stored = [service.services.decoder.decode(picture(seed)).data for seed in (1, 2)]
    wanted = ImageInput(height=224, width=224)
    read = [tower_pixels(Image.open(io.BytesIO(data)), wanted).tobytes() for data in stored]
    assert oracle.asked["pixels"] == b"".join(read)


def test_prompts_are_sent_once(service: Service, oracle: Oracle, model: Model) -> None:
    for _ in range(3):
        assert service.client.post(CLASSIFY, files=[image_part(1)], data=TWO).status_code == 200
        sent = dict(oracle.known)
    assert list(sent.values()) == [["a photo of a a.", "a photo of a b."]]
    assert oracle.requests == [1, 1, 1]
    oracle.known.clear()  # as after a restart
    assert service.client.post(CLASSIFY, files=[image_part(1)], data=TWO).status_code == 200
    assert oracle.known == sent


def test_clients_that_ask_at_once_share_calls_and_get_their_own_images_answers(
    service: Service, oracle: Oracle, model: Model
) -> None:
    def ask(number: int) -> Any:
        files = [image_part(seed) for seed in range(1 + number % 3)]
        return service.client.post(CLASSIFY, files=files, data=TWO).json()["data"]

    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(ask, range(24)))
    assert [len(rows) for rows in answers] == [1 + number % 3 for number in range(24)]
    assert sum(oracle.requests) == 48
    assert len(oracle.requests) < 24


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
    names = ["one cat", "a cat.", "one dog", "a dog."]  # the same prompts, each of a class
    single = {"classes": json.dumps(names), "prompts": '["{name}"]'}
    assert service.client.post(CLASSIFY, files=[image_part(1)], data=single).status_code == 200
    assert oracle.templates == [2, 1]


def test_a_root_answers_over_its_suites_classes(
    service: Service, oracle: Oracle, model: Model
) -> None:
    with service.untouched():
        nothing = service.client.post(CLASSIFY, files=[image_part(1)])
    assert code_of(nothing) == (422, "field_invalid")
    service.client.post("/v1/datasets", json={"name": "asked"})
    service.client.post("/v1/datasets/asked/images", files=[("cat", ("a.png", picture(9)))])
    service.client.post("/v1/datasets/asked/versions")
    suite = {"name": "asked", "kind": "zero_shot", "dataset": "asked", "dataset_version": 1}
    service.client.post("/v1/suites", json=suite)
    service.client.patch("/v1/models/demo", json={"suites": ["asked"]})
    assert service.client.post(CLASSIFY, files=[image_part(1)]).status_code == 200
    assert oracle.asked["prompts"] == ["a photo of a cat."]


def test_every_kind_of_reference_is_resolved(service: Service, model: Model) -> None:
    digest = service.client.get("/v1/models/demo/versions/2").json()["digest"]
    data = {"classes": '["a", "b"]'}
    for reference, version in (
        ("demo", 1),
        ("demo@production", 1),
        ("demo:2", 2),
        (f"demo@sha256:{digest}", 2),
    ):
        path = f"/v1/models/{reference}/classify"
        answer = service.client.post(path, files=[image_part(1)], data=data)
        assert answer.json()["version"] == version
    for reference, code in (
        ("nope", "model_not_found"),
        ("demo@x", "alias_not_found"),
        ("demo:x", "version_not_found"),
        ("demo:9", "version_not_found"),
        ("demo:٢", "version_not_found"),
        ("demo@sha256:00", "version_not_found"),
    ):
        answer = service.client.post(
            f"/v1/models/{reference}/classify", files=[image_part(1)], data=data
        )
        assert code_of(answer) == (404, code)


def test_the_expected_digest_may_have_its_prefix(service: Service, model: Model) -> None:
    digest = service.client.get("/v1/models/demo/versions/2").json()["digest"]
    answer = service.client.post(
        "/v1/models/demo:2/classify",
        files=[image_part(1)],
        data={"expect_digest": f"sha256:{digest}"},
    )
    assert answer.status_code == 200


def test_a_bad_image_among_good_ones_is_told_by_name(service: Service, model: Model) -> None:
    files = [image_part(1), ("images", ("bad.tiff", pictures.tiff())), image_part(2)]
    rows = service.client.post("/v1/models/demo:2/classify", files=files).json()["data"]
    assert [(row["error"] or {}).get("code") for row in rows] == [None, "unsupported_image", None]
    assert [len(row["predictions"]) for row in rows] == [2, 0, 2]
    all_bad = service.client.post("/v1/models/demo:2/classify", files=[files[1], files[1]])
    assert code_of(all_bad) == (422, "all_rejected")
