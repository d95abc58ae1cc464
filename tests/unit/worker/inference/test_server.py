"""The inference process's HTTP surface over a minuscule CLIP."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor

from core.clip.served import TorchModel
from core.inference.wire import DEVICE, write_request
from core.platform import Platform
from core.recipes.rules import digest_of
from tests.support.learning.tiny_clip import tiny_clip
from tests.unit.worker.inference.conftest import store
from worker.inference.classifier import MicroBatcher

CLASSES = ["cat", "dog", "red panda"]

PROMPTS = [f"a photo of a {name}." for name in CLASSES]


def image(seed: int) -> bytes:
    """The pixels of an image, of the input size of `tiny_clip`."""
    return random.Random(seed).randbytes(3 * 16 * 16)


def pixels_of(seeds: list[int]) -> Tensor:
    """The same as (images, 3, height, width)."""
    data = bytearray(b"".join(map(image, seeds)))
    return torch.frombuffer(data, dtype=torch.uint8).view(-1, 16, 16, 3).permute(0, 3, 1, 2)


def ask(client: TestClient, digest: str, seeds: list[int], **changes: Any) -> Any:
    head = {"digest": digest, "texts": digest_of(PROMPTS), "prompts": PROMPTS, "top_k": 2}
    return client.post("/classify", content=write_request(head | changes, [*map(image, seeds)]))


def test_predictions_are_the_softmax_of_the_models_own_logits(
    client: TestClient, platform: Platform
) -> None:
    digest = store(platform, 1)

    answer = ask(client, digest, [4, 9])

    assert (answer.status_code, answer.headers[DEVICE]) == (200, "cpu")
    clip = tiny_clip(1)
    with torch.inference_mode():
        logits = clip.scale * clip.encode_images(pixels_of([4, 9])) @ clip.encode_texts(PROMPTS).T
    for row, predictions in zip(logits.softmax(dim=-1), answer.json()["predictions"], strict=True):
        order = row.argsort(descending=True)[:2]
        assert [place for place, _ in predictions] == order.tolist()
        given = torch.tensor([probability for _, probability in predictions])
        torch.testing.assert_close(given, row[order], atol=1e-5, rtol=1e-4)


def test_many_clients_at_once_get_what_each_would_get_alone(
    client: TestClient, platform: Platform
) -> None:
    digest = store(platform, 1)
    alone = [ask(client, digest, [seed]).json() for seed in range(12)]

    with ThreadPoolExecutor(6) as clients:
        together = list(clients.map(lambda seed: ask(client, digest, [seed]).json(), range(12)))

    for one, other in zip(alone, together, strict=True):
        for given, expected in zip(one["predictions"][0], other["predictions"][0], strict=True):
            assert given == [expected[0], pytest.approx(expected[1], abs=1e-5)]


def test_several_prompts_of_a_class_count_as_open_clips_zero_shot_classifier_takes_them(
    client: TestClient, platform: Platform
) -> None:
    templates = ["a photo of a {}.", "one {}", "many {}s on a table"]
    prompts = [template.format(name) for name in CLASSES for template in templates]
    texts = {"prompts": prompts, "templates": 3, "texts": digest_of(prompts, 3), "top_k": 3}
    digest = store(platform, 1)

    answer = ask(client, digest, [4], **texts)
    again = ask(client, digest, [4], **{**texts, "prompts": ["unknown"], "templates": 1})

    clip = tiny_clip(1)
    columns = open_clip.build_zero_shot_classifier(
        clip.network, clip.tokenise, CLASSES, [template.format for template in templates]
    )
    with torch.inference_mode():
        row = (clip.scale * clip.encode_images(pixels_of([4])) @ columns).softmax(dim=-1)[0]
    wanted = [
        [place, pytest.approx(float(row[place]), abs=1e-5)]
        for place in row.argsort().flip(0).tolist()
    ]
    assert answer.json()["predictions"] == [wanted]
    assert again.json() == answer.json()  # the classes' features were cached
    odd = ask(client, digest, [4], **{**texts, "texts": "0" * 64, "templates": 2})
    assert (odd.status_code, odd.json()["code"]) == (422, "field_invalid")


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"digest": "0" * 64}, 404, "artifact_missing"),
    ({"prompts": []}, 422, "field_invalid"),
    ({"texts": None}, 422, "field_invalid"),
    ({"texts": "1" * 64, "prompts": None}, 422, "field_invalid"),
    ({"top_k": 0}, 422, "field_invalid"),
    ({"top_k": "2"}, 422, "field_invalid"),
]


def test_wrong_questions_are_refused_by_name(client: TestClient, platform: Platform) -> None:
    digest = store(platform, 1)
    for changes, status, code in WRONG:
        answer = ask(client, seeds=[1], **{"digest": digest, **changes})
        assert (answer.status_code, answer.json()["code"]) == (status, code), changes
    nothing = client.post("/embed", content=write_request({"digest": digest}))
    assert (nothing.status_code, nothing.json()["code"]) == (422, "field_invalid")


def test_texts_are_sent_once_and_named_afterwards(client: TestClient, platform: Platform) -> None:
    digest = store(platform, 1)
    named = write_request({"digest": digest, "texts": digest_of(PROMPTS), "top_k": 2}, [image(1)])
    unknown = client.post("/classify", content=named)
    assert (unknown.status_code, unknown.json()["code"]) == (409, "texts_unknown")
    sent = ask(client, digest, [1])
    assert client.post("/classify", content=named).json() == sent.json()


def test_flipped_bit_is_found_before_it_is_served(client: TestClient, platform: Platform) -> None:
    digest = store(platform, 1)
    folder = platform.settings.artifacts
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(damaged)

    answer = ask(client, digest, [1])

    assert (answer.status_code, answer.json()["code"]) == (503, "artifact_corrupt")


def test_failing_batch_fails_the_request_that_led_it_and_no_other() -> None:
    clip = TorchModel(tiny_clip(1))
    batcher = MicroBatcher()
    good = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    bad = np.zeros((1, 8, 16, 3), dtype=np.uint8)
    hold = batcher.run(lambda: time.sleep(0.2))

    answers = [batcher.encode(clip, pixels, np.copy) for pixels in (bad, good, good)]

    hold.result()
    with pytest.raises(ValueError, match="must match exactly"):
        answers[0].result()
    assert answers[1].result().shape == (1, 16)
    assert answers[2].result().shape == (1, 16)
    batcher.close()
