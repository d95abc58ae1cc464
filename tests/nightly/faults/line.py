"""A model line on a minuscule CLIP, and updates of it that last a few seconds."""

from pathlib import Path
from typing import Any

from sqlalchemy import delete

from core.database.tables import answers
from core.gate.policies import create_policy
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.platform import Platform
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.promote import roll_back
from core.registry.read import require_weights
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Version
from core.upkeep.gc import tensors_of
from core.values import Digest
from perennial.client import Client
from perennial.requests import ImageFile
from tests.support.api.image_files import picture
from tests.support.factories import TESTER, a_policy
from tests.support.learning.tiny_clip import add_graphs, folder_of, tiny_clip

MODEL, DATASET, SUITE, POLICY = "line", "shapes", "unseen", "lenient"

RECIPE = Recipe(epochs=10, batch_size=4, learning_rate=1e-3, sentences=6, sentence_length=6, seed=5)


def prepare(platform: Platform, base: Path) -> None:
    """A base, and a policy that lets all pass: the API makes neither."""
    folder_of(base, tiny_clip(seed=3))
    add_graphs(platform)
    limits = ("parent", "root", "union", "holdout", "settled")
    lenient = dict.fromkeys((f"{limit}_tolerance" for limit in limits), 1.0)
    create_policy(
        platform,
        a_policy(reason="a test", name=POLICY, wanted_gain=-1.0, minimum_count=1, **lenient),
    )


def upload(client: Client) -> None:
    """Images to teach, and a suite."""
    for name, seeds in ((DATASET, range(45)), (SUITE, range(100, 120))):
        client.datasets.create(name, kind="labelled")
        files = (ImageFile(file_name=f"{seed}.png", data=picture(seed)) for seed in seeds)
        texts = (f"shape {seed % 3}" for seed in seeds)
        client.datasets.upload(name, zip(texts, files, strict=True))
        client.datasets.freeze(name)
    client.suites.create(SUITE, kind="zero_shot", dataset=SUITE, dataset_version=1)


def model_body(base: Path) -> dict[str, Any]:
    """What makes the model, as JSON."""
    return {"name": MODEL, "base": str(base), "suites": [SUITE], "policy": POLICY}


def body() -> dict[str, Any]:
    """The order of the update, as JSON."""
    return {
        "type": "update",
        "model": MODEL,
        "dataset": DATASET,
        "dataset_version": 1,
        "recipe": RECIPE.to_json(),
        "parent": 1,
    }


def reset(platform: Platform, undisturbed: Digest) -> None:
    """Have the next update do all its work again, as if nobody had ever trained it.

    The root goes live again; answers and the bytes that only updates have are forgotten.
    """
    go_back_to_root(platform)
    with platform.transactions() as work:
        work.connection.execute(delete(answers))
        work.commit()
    artifacts = platform.artifacts
    if artifacts.has(undisturbed):
        root = tensors_of(artifacts, _version(platform, 1).digest)
        for digest in tensors_of(artifacts, undisturbed).keys() - root.keys():
            artifacts.delete(digest)
        artifacts.delete(undisturbed)


def go_back_to_root(platform: Platform) -> None:
    if live_version(platform) != 1:
        roll_back(
            platform,
            TESTER,
            model=MODEL,
            alias=PRODUCTION,
            to=1,
            expected_revision=None,
            reason="the next try begins",
        )


def live_version(platform: Platform) -> int:
    """The version that is live, checked against the history: a row for each revision."""
    with platform.transactions(read_only=True) as work:
        model = work[Models].get(MODEL).id
        alias = work[Aliases].get(model, PRODUCTION)
        history = work[Aliases].history(model, PRODUCTION)
    assert [row.revision for row in history] == list(range(1, alias.revision + 1))
    assert history[-1].to_version == alias.version
    return alias.version


def digest_of(platform: Platform, job: Job) -> Digest:
    """The digest of the version that an ended update made, every byte of it verified."""
    assert job.status.value == "succeeded", job.error
    version = _version(platform, job.version)
    require_weights(platform.artifacts, version)
    return version.digest


def versions_of(platform: Platform, job: Job) -> list[Version]:
    with platform.transactions(read_only=True) as work:
        return [version for version in work[Versions].all(job.model) if version.job == job.id]


def kinds(platform: Platform, job: Job) -> list[str]:
    with platform.transactions(read_only=True) as work:
        return [event.kind for event in work[Jobs].events(job.id, 10_000, 0)]


def _version(platform: Platform, number: int) -> Version:
    with platform.transactions(read_only=True) as work:
        return work[Versions].get(work[Models].get(MODEL).id, number)
