"""A model line on a minuscule CLIP, and updates of it that last a few seconds."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from sqlalchemy import delete

from core.bootstrap import decoder
from core.database.tables import answers
from core.database.work import Work
from core.datasets.edit import create_dataset
from core.datasets.freeze import freeze_version
from core.datasets.receive import record_uploads
from core.datasets.rules import DatasetKind, SuiteKind
from core.datasets.suites import create_suite
from core.datasets.uploads import receive_file
from core.gate.policies import create_policy, ensure_default_policy
from core.gate.rules import GatePolicy
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.platform import Platform
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.promote import roll_back
from core.registry.read import require_weights
from core.registry.rows import Models, Versions
from core.registry.versions import Version, Weights
from core.values import Digest, PolicyId
from tests.support.api.image_files import picture
from tests.support.factories import TESTER
from tests.support.learning.tiny_clip import tiny_clip

MODEL, DATASET, SUITE, POLICY = "line", "shapes", "unseen", "lenient"

RECIPE = Recipe(epochs=10, batch_size=4, learning_rate=1e-3, sentences=6, sentence_length=6, seed=5)


def write_base(folder: Path) -> str:
    """A minuscule model as the folder that a model is made from."""
    clip = tiny_clip(seed=3)
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(clip.config))
    save_file(clip.network.state_dict(), folder / "open_clip_model.safetensors")
    return str(folder)


def prepare(platform: Platform, base: Path) -> None:
    """What the line needs: a base, images to teach, a suite, a policy that lets all pass."""
    write_base(base)
    ensure_default_policy(platform)
    policy = GatePolicy(
        id=PolicyId("gate_lenient"),
        name=POLICY,
        parent_tolerance=1.0,
        root_tolerance=1.0,
        holdout_tolerance=1.0,
        wanted_gain=-1.0,
        minimum_count=1,
        reason="what is tested is recovery",
        created_at=platform.clock(),
    )
    create_policy(platform, policy)
    _upload(platform, DATASET, range(45))
    _upload(platform, SUITE, range(100, 120))
    create_suite(platform, name=SUITE, kind=SuiteKind.ZERO_SHOT, dataset=SUITE, dataset_version=1)


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
    with platform.transactions() as work:
        assert isinstance(work, Work)
        assert work._connection is not None
        work._connection.execute(delete(answers))
        work.commit()
    artifacts = platform.artifacts
    if artifacts.has(undisturbed):
        kept = {
            tensor.digest for tensor in _weights(platform, _version(platform, 1).digest).tensors
        }
        for tensor in _weights(platform, undisturbed).tensors:
            if tensor.digest not in kept:
                artifacts.delete(tensor.digest)
        artifacts.delete(undisturbed)


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
    assert job.version is not None
    version = _version(platform, job.version)
    require_weights(platform.artifacts, version)
    return version.digest


def versions_of(platform: Platform, job: Job) -> list[Version]:
    """The versions that an update has made."""
    with platform.transactions(read_only=True) as work:
        return [version for version in work[Versions].all(job.model) if version.job == job.id]


def kinds(platform: Platform, job: Job) -> list[str]:
    """The kinds of a job's events, in order."""
    with platform.transactions(read_only=True) as work:
        return [event.kind for event in work[Jobs].events(job.id, 10_000, 0)]


def _version(platform: Platform, number: int) -> Version:
    with platform.transactions(read_only=True) as work:
        return work[Versions].get(work[Models].get(MODEL).id, number)


def _weights(platform: Platform, digest: Digest) -> Weights:
    return Weights.from_bytes(platform.artifacts.get(digest))


def _upload(platform: Platform, name: str, seeds: range) -> None:
    dataset = create_dataset(platform, name, DatasetKind.LABELLED)
    opened = decoder(platform.settings, processes=1)
    try:
        uploads = [
            receive_file(
                platform.artifacts.put,
                opened,
                DatasetKind.LABELLED,
                text=f"shape {seed % 3}",
                file_name=None,
                data=picture(seed),
            )
            for seed in seeds
        ]
        record_uploads(platform, dataset, uploads)
    finally:
        opened.close()
    freeze_version(platform, dataset.name)
