"""The whole main job over HTTP, with real processes and the bundled model.

On servers, `test_compose` goes the same way in short.
"""

import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from pydantic import SecretStr

from core.clip.machine import native_precisions
from core.recipes.fields import Precision
from demo.images import PackImage, by_class, captioned, named
from devtools.ports import free_port
from perennial.client import Client
from perennial.errors import ServiceError
from perennial.types import Advice, Job
from tests.support.processes import Site, wait_for

CLASSES = 4

PER_CLASS = 60

PROMPT = "this is a photo of {name} ."

POLICY = {
    "name": "small",
    "parent_tolerance": 0.08,
    "root_tolerance": 0.08,
    "alpha": 0.05,
    "minimum_count": 50,
    "reason": "few images and a small model",
}

TAUGHT = {"method": "vrlwf", "epochs": 4, "batch_size": 32, "learning_rate": 1e-4, "seed": 1}

RUINED = {"method": "ft", "epochs": 1, "batch_size": 32, "learning_rate": 3e-2, "seed": 1}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a service that runs as a user would run it."""
    key = "pk_only-this-journey-knows-of-it"
    site = Site(
        tmp_path,
        admin_key=SecretStr(key),
        port=free_port(),
        inference_port=free_port(),
        sweep_seconds=0.5,
    )
    service = site.start("cli", "serve")
    with Client(f"http://127.0.0.1:{site.settings.port}", key, trust_env=False) as client:
        try:
            wait_for(lambda: service.poll() is not None or client.is_ready(), seconds=120)
            yield client
        finally:
            print(site.log)
            site.close()


def test_a_model_learns_is_judged_serves_and_is_rolled_back(client: Client, tmp_path: Path) -> None:
    images = by_class("fashion_mnist", "train")
    taught = {name: images[name] for name in sorted(images)[:CLASSES]}
    make_suites(client)
    client.policies.create(**POLICY)
    finish(client, client.models.create("walk", suites=["emoji", "art"], policy="small"))
    upload(
        client, "products", "labelled", [i for rows in taught.values() for i in rows[:PER_CLASS]]
    )

    # Before it learns, advice says what it recognises already: little.
    advice = advise(client, TAUGHT)
    assert [(row["train"] + row["holdout"], row["asked"]) for row in advice["classes"]] == [
        (PER_CLASS, 20)
    ] * CLASSES
    assert sum(row["recognised"] or 0 for row in advice["classes"]) < 0.8 * 20 * CLASSES
    assert advice["expected_s"] is None

    # It learns, the gate lets it pass, it goes live.
    done = finish(client, update(client, TAUGHT))
    result, version = done["result"], client.versions.get("walk", 2)
    assert (result["version"], result["verdict"]) == (2, "passed")
    native = Precision.AUTO.on(native_precisions(torch.device("cpu")))
    assert done["recipe"]["precision"] == Precision.AUTO
    assert done["precision"] == version["recipe"]["precision"] == native
    assert (version["exact"], version["environments"]) == (True, [version["environment"]])
    alias = client.aliases.get("walk")
    assert alias["version"] == 2
    report = client.versions.report("walk", 2)
    assert (report["recipe"]["precision"], report["exact"]) == (native, True)
    gain = next(measure for measure in report["measures"] if measure["kind"] == "gain")
    assert gain["difference"] > 0.2

    assert (advise(client, RUINED)["expected_s"] or 0) > 0

    # What it learned is served, under the alias at once.
    unseen = [image for rows in taught.values() for image in rows[-10:]]
    assert share_right(client, "walk", unseen, list(taught)) > 0.5
    assert live_version(client, unseen[:1]) == 2

    # What shows none of the classes is told from what shows one, better than by chance.
    others = named("twemoji")[::48]
    own, foreign = (share_rejected(client, images, list(taught)) for images in (unseen, others))
    assert own + 0.1 < foreign

    # What forgets too much is refused, and production stays as it is.
    failed = finish(client, update(client, RUINED))["result"]
    assert (failed["version"], failed["verdict"]) == (3, "failed")
    with pytest.raises(ServiceError) as refusal:
        client.aliases.promote(
            "walk", 3, reason="try it anyway", expected_revision=alias["revision"]
        )
    assert (refusal.value.status, refusal.value.code) == (409, "gate_failed")
    assert live_version(client, unseen[:1]) == 2

    # One call undoes it.
    client.aliases.roll_back("walk", reason="to show it")
    assert live_version(client, unseen[:1]) == 1
    history = client.aliases.history("walk")
    moves = [(row["revision"], row["kind"], row["to_version"]) for row in history]
    assert moves == [(1, "created", 1), (2, "promoted", 2), (3, "rolled_back", 1)]

    # A downloaded version is a folder that open_clip loads, and it answers as the service does.
    network, preprocess, tokenizer = download(client, 2, tmp_path)
    prompt = version["prompt"]
    texts = [prompt.replace("{name}", name.lower()) for name in taught]
    answers = best(network, preprocess, tokenizer, unseen[:20], texts)
    given = predicted(client, "walk:2", unseen[:20], list(taught))
    assert given == [list(taught)[index] for index in answers]


def make_suites(client: Client) -> None:
    """A zero-shot and a captioned suite of images that no update will see."""
    for name, kind, dataset_kind, images in (
        ("emoji", "zero_shot", "labelled", named("twemoji")[:300]),
        ("art", "retrieval", "captioned", captioned("openclipart")),
    ):
        upload(client, name, dataset_kind, images)
        client.suites.create(name, kind=kind, dataset=name, dataset_version=1, prompt=PROMPT)


def upload(client: Client, name: str, kind: str, images: list[PackImage]) -> None:
    """Put images into a new dataset and freeze it."""
    client.datasets.create(name, kind=kind)
    client.datasets.upload(name, ((image.text, image.file) for image in images))
    assert client.datasets.freeze(name)["images"] == len(images)


def update(client: Client, recipe: dict[str, Any]) -> Job:
    """Order an update of version 1."""
    return client.jobs.order_update(
        model="walk", dataset="products", dataset_version=1, parent=1, recipe=recipe
    )


def advise(client: Client, recipe: dict[str, Any]) -> Advice:
    """Advice on an update of version 1."""
    return client.jobs.advise_update(
        model="walk", dataset="products", dataset_version=1, parent=1, recipe=recipe
    )


def finish(client: Client, job: Job) -> Job:
    """The job once it has succeeded."""
    return client.jobs.wait(job["id"], every=0.3)


def predicted(
    client: Client, reference: str, images: list[PackImage], classes: list[str]
) -> list[str]:
    """The most probable class of each image."""
    answers = client.classify(reference, [image.file for image in images], classes)["data"]
    return [answer["predictions"][0]["class"] for answer in answers]


def share_right(
    client: Client, reference: str, images: list[PackImage], classes: list[str]
) -> float:
    given = predicted(client, reference, images, classes)
    return sum(one == image.text for one, image in zip(given, images, strict=True)) / len(images)


def share_rejected(client: Client, images: list[PackImage], classes: list[str]) -> float:
    """The share of images that are told to show none of the classes."""
    found = client.classify(
        "walk", [image.file for image in images], classes, prompt=PROMPT, none_of_these=0.1
    )
    return sum(bool(one["none_of_these"]) for one in found["data"]) / len(images)


def live_version(client: Client, images: list[PackImage]) -> int:
    """The version that answers for the bare name, and answers within a few seconds."""
    began = time.monotonic()
    answer = client.classify("walk", [image.file for image in images])
    assert time.monotonic() - began < 10
    return answer["version"]


def download(client: Client, number: int, folder: Path) -> Any:
    """Network, preprocessing and tokenizer of a version, loaded by open_clip alone."""
    tar = client.versions.download("walk", number, to=folder / "version.tar")
    with tarfile.open(tar) as archive:
        archive.extractall(folder / "downloaded", filter="data")
    (config,) = (folder / "downloaded").rglob("open_clip_config.json")
    name = f"local-dir:{config.parent}"
    network, _, preprocess = open_clip.create_model_and_transforms(name)
    return network.eval(), preprocess, open_clip.get_tokenizer(name)


def best(
    network: Any, preprocess: Any, tokenizer: Any, images: list[PackImage], texts: list[str]
) -> list[int]:
    """The text that fits each image best, by open_clip's own calls."""
    opened = [Image.open(io.BytesIO(image.data)).convert("RGB") for image in images]
    with torch.inference_mode():
        seen = network.encode_image(torch.stack([preprocess(one) for one in opened]))
        said = network.encode_text(tokenizer(texts))
        seen, said = (rows / rows.norm(dim=-1, keepdim=True) for rows in (seen, said))
        indices: list[int] = (seen @ said.T).argmax(dim=-1).tolist()
    return indices
