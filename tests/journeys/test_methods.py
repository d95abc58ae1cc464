"""Orders of the methods that need more than images, trained and scored for real in this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import bootstrap
from core.bases.create_model import create_model
from core.datasets.edit import create_dataset, receive_file
from core.datasets.freeze import freeze_version
from core.datasets.receive import record_uploads
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, DatasetRef, DatasetVersion, SuiteKind
from core.datasets.suites import create_suite
from core.job_types.run import run_next_job
from core.jobs.orders import UpdateOrder
from core.jobs.queue import JobRequest
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.platform import Platform
from core.recipes.rules import Recipe
from core.registry.configure import add_suite
from core.registry.rows import Versions
from core.registry.versions import Version
from core.settings import Settings
from core.training.order import order_update
from tests.nightly.faults.line import DATASET, MODEL, prepare
from tests.support.api.image_files import picture
from tests.support.factories import TESTER
from tests.support.notifiers import SilentNotifier
from worker.tools import build_tools

REQUEST = JobRequest(principal=TESTER)

SHORT = {"epochs": 3, "batch_size": 6, "learning_rate": 1e-3, "sentences": 6, "sentence_length": 6}


@pytest.fixture
def platform(tmp_path: Path, back_end: str) -> Iterator[Platform]:
    """A model line on a minuscule CLIP, with a labelled dataset of three shapes."""
    folder = tmp_path / "base"
    settings = Settings(
        home=tmp_path / "home", threads=1, min_free_bytes=1, root_folders=(tmp_path,)
    )
    bootstrap.migrate(settings)
    built = bootstrap.build(settings)
    prepare(built, folder)
    create_model(built, SilentNotifier(), REQUEST, name=MODEL, base=str(folder))
    run_here(built)
    yield built
    bootstrap.close(built)


def run_here(platform: Platform) -> None:
    """Run the next job in this process."""
    tools = build_tools(platform)
    assert run_next_job(platform, tools, owner="w", stopping=lambda: False) is not None


def frozen(platform: Platform, name: str, kind: DatasetKind, *texts: str) -> DatasetVersion:
    """A dataset version of pictures that no other name has, one of each text in turn."""
    dataset = create_dataset(platform, name, kind)
    opened = bootstrap.decoder(platform.settings, processes=1)
    first = 1000 * len(name)
    try:
        uploads = [
            receive_file(
                platform.artifacts.put,
                opened,
                kind,
                text=texts[seed % len(texts)],
                file_name=None,
                data=picture(seed),
            )
            for seed in range(first, first + 40)
        ]
        record_uploads(platform, dataset, uploads)
    finally:
        opened.close()
    return freeze_version(platform, name)


def suite(platform: Platform, data: DatasetVersion, kind: SuiteKind) -> None:
    made = create_suite(
        platform,
        name=f"{kind.value}-asked".replace("_", "-"),
        kind=kind,
        dataset=data.dataset,
        dataset_version=1,
    )
    add_suite(platform, MODEL, made)


def teach(platform: Platform, data: DatasetVersion, **changes: Any) -> Job:
    """Order an update and run it here."""
    recipe = Recipe.from_json({**SHORT, **changes.pop("recipe", {})})
    order = UpdateOrder(
        dataset=data.dataset, dataset_version=1, recipe=recipe, auto_promote=False, **changes
    )
    job = order_update(platform, SilentNotifier(), REQUEST, model=MODEL, order=order)
    run_here(platform)
    with platform.transactions(read_only=True) as work:
        return work[Jobs].get(job.id)


def made(platform: Platform, job: Job) -> Version:
    assert job.error is None
    assert job.version is not None
    with platform.transactions(read_only=True) as work:
        return work[Versions].get(job.model, job.version)


def shapes(platform: Platform) -> DatasetVersion:
    with platform.transactions(read_only=True) as work:
        return work[Datasets].version(work[Datasets].get(DATASET).id, 1)


@pytest.mark.parametrize("choice", ["validation", "per_layer"])
def test_mixing_weight_is_chosen_on_validation_parts_and_noted(
    platform: Platform, choice: str
) -> None:
    suite(
        platform, frozen(platform, "sky", DatasetKind.LABELLED, "sun", "moon"), SuiteKind.ZERO_SHOT
    )
    words = frozen(platform, "words", DatasetKind.CAPTIONED, "a ring", "dots")
    suite(platform, words, SuiteKind.RETRIEVAL)
    recipe = {"method": "wise", "mixing_choice": choice}
    version = made(platform, teach(platform, shapes(platform), recipe=recipe))
    chosen = version.notes["mixing"]
    assert chosen in [row["mixing"] for row in version.notes["tried"]]
    assert ("layers" in version.notes) is (choice == "per_layer")
    assert all(0 <= row[name] <= 1 for row in version.notes["tried"] for name in ("new", "kept"))


@pytest.mark.parametrize("kind", list(DatasetKind))
def test_reference_set_is_distilled(platform: Platform, kind: DatasetKind) -> None:
    shown = frozen(platform, "shown", kind, "Ring", "dots")
    named = DatasetRef(dataset=shown.dataset, version=1)
    job = teach(platform, shapes(platform), recipe={"method": "zscl"}, reference=named)
    assert made(platform, job).reference == named


def test_earlier_classes_are_replayed(platform: Platform) -> None:
    first = teach(platform, shapes(platform), recipe={"method": "replay"})
    more = frozen(platform, "more", DatasetKind.LABELLED, "ring", "dots")
    recipe = {"method": "replay", "exemplars": 9, "exemplar_batch": 3}
    job = teach(platform, more, recipe=recipe, parent=made(platform, first).number)
    assert made(platform, job).classes == ("shape 0", "shape 1", "shape 2", "dots", "ring")


def test_features_of_earlier_classes_are_replayed(platform: Platform) -> None:
    recipe = {"method": "vrlwf_features"}
    first = made(platform, teach(platform, shapes(platform), recipe=recipe))
    more = frozen(platform, "yet-more", DatasetKind.LABELLED, "ring", "dots")
    second = made(platform, teach(platform, more, recipe=recipe, parent=first.number))
    assert set(first.feature_statistics) == {"shape 0", "shape 1", "shape 2"}
    assert first.feature_statistics.items() < second.feature_statistics.items()
    assert set(second.feature_statistics) == set(second.classes)
    assert second.notes["features"] > 0
