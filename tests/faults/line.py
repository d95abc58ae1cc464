"""A model line on a minuscule CLIP, and updates of it that last a few seconds."""

import json
from pathlib import Path

from safetensors.torch import save_file

from core.bootstrap import decoder
from core.domain.dataset import DatasetKind
from core.domain.recipe import Recipe
from core.domain.update import Job, Queue, UpdateOrder
from core.domain.values import DatasetId, Digest, JobId
from core.ports import Doorbell, Platform
from core.use_cases.datasets import create_dataset, freeze_version, receive_file, record_uploads
from core.use_cases.jobs import Request, create_model, order_update
from core.use_cases.run_job import run_next_job
from core.use_cases.suites import ensure_default_policy
from tests.api.pictures import picture
from tests.unit.tiny_clip import tiny_clip
from worker.bootstrap import build_tools

MODEL = "line"
RECIPE = Recipe(epochs=20, batch_size=4, learning_rate=1e-3, sentences=6, sentence_length=6, seed=5)
REQUEST = Request(actor="test")


class Silence:
    """A doorbell that nobody hears: what the sweeper is for."""

    def ring(self, job: JobId, queue: Queue) -> None:
        """Say nothing."""


def write_base(folder: Path) -> str:
    """A minuscule model as the folder that a model is made from."""
    clip = tiny_clip(seed=3)
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(clip.config))
    save_file(clip.network.state_dict(), folder / "open_clip_model.safetensors")
    return str(folder)


def begin(platform: Platform, base: str) -> None:
    """Make the model, by running its import here, and a dataset version to teach it."""
    ensure_default_policy(platform)
    create_model(platform, Silence(), REQUEST, name=MODEL, base=base)
    assert run_here(platform).status.value == "running"  # as it was claimed
    dataset = create_dataset(platform, "shapes", DatasetKind.LABELLED)
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
            for seed in range(45)
        ]
    finally:
        opened.close()
    record_uploads(platform, dataset, uploads)
    freeze_version(platform, dataset.name)


def order(platform: Platform, doorbell: Doorbell = Silence()) -> Job:
    """Order the update: each time the same parent, data and recipe."""
    with platform.transactions(read_only=True) as work:
        dataset = DatasetId(work.datasets.get("shapes").id)
    what = UpdateOrder(
        dataset=dataset, dataset_version=1, recipe=RECIPE, parent=1, auto_promote=False
    )
    return order_update(platform, doorbell, REQUEST, model=MODEL, order=what)


def run_here(platform: Platform) -> Job:
    """Run the next job in this process, undisturbed."""
    job = run_next_job(platform, build_tools(platform), owner="test:here:1", stopping=lambda: False)
    assert job is not None
    return job


def find(platform: Platform, job: Job) -> Job:
    """The job as it stands now."""
    with platform.transactions(read_only=True) as work:
        return work.jobs.get(job.id)


def digest_of(platform: Platform, job: Job) -> Digest:
    """The digest of the version that an ended update made."""
    ended = find(platform, job)
    assert ended.status.value == "succeeded", ended.error
    assert ended.version is not None
    with platform.transactions(read_only=True) as work:
        return work.versions.get(ended.model, ended.version).digest


def versions_of(platform: Platform, job: Job) -> int:
    """How many versions an update has made."""
    with platform.transactions(read_only=True) as work:
        return sum(version.job == job.id for version in work.versions.all(job.model))


def kinds(platform: Platform, job: Job) -> list[str]:
    """The kinds of a job's events, in order."""
    with platform.transactions(read_only=True) as work:
        return [event.kind for event in work.jobs.events(job.id, 10_000, 0)]
