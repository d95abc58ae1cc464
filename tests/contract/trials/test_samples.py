"""Samples of trials: at most as many as the setting says, and gone where images have to be gone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from core.artifacts.store import ArtifactKind
from core.datasets.rows import Datasets
from core.erasure.order import certify
from core.erasure.rules import Retraining
from core.errors import ImageNotFound, QuotaExceeded
from core.images.decoder import DecodedImage
from core.registry.versions import Model
from core.trials.record import delete_samples, keep_sample, sample_form
from core.trials.rows import Trials, TrialSamples
from core.trials.rules import Sample, Trial
from core.trials.run import stop_trial
from core.upkeep.delete import delete_model
from core.values import Digest, PredictionId, TrialId, sha256
from tests.contract.trials.conftest import Start
from tests.support.erasures import erase, order
from tests.support.scene import Scene
from tests.support.storage.collecting import tidy

BOTH = {"answer": "boot", "shadow_answer": "bag"}


class Decoder:
    """Takes any bytes for an image, whose pixels are the bytes without blanks at the end.

    So many images are decoded at once.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._all = Barrier(at_once)

    def decode(self, data: bytes) -> DecodedImage:
        self._all.wait(10)
        return DecodedImage(
            data=b"stored " + data,
            pixels=sha256(data.strip()),
            width=1,
            height=1,
            thumbnail="",
        )


@pytest.fixture(autouse=True)
def three(scene: Scene) -> None:
    """A trial may keep three images."""
    settings = scene.platform.settings.model_copy(update={"max_trial_samples": 3})
    scene.platform = replace(scene.platform, settings=settings)


def keep(scene: Scene, trial: TrialId, data: bytes, decoder: Decoder | None = None) -> bool:
    made = PredictionId(f"pred_{data.decode().strip()}")
    return keep_sample(
        scene.platform,
        decoder or Decoder(),  # type: ignore[arg-type]
        data,
        trial=trial,
        prediction=made,
        **BOTH,
    )


def kept(scene: Scene, trial: TrialId) -> list[Sample]:
    with scene.platform.transactions(read_only=True) as work:
        return list(work[TrialSamples].page(trial, 100, None))


def sampled(scene: Scene, trial: TrialId) -> int:
    with scene.platform.transactions(read_only=True) as work:
        return work[Trials].counts([trial])[trial].sampled


def of(trial: Trial, model: Model, pixels: Digest) -> dict[str, str]:
    return {"model": model.name, "alias": trial.alias, "trial": trial.id, "pixels": pixels}


def test_of_images_that_arrive_at_once_as_many_are_kept_as_the_setting_says(
    scene: Scene, start: Start
) -> None:
    trial, decoder = start().id, Decoder(8)
    assert keep(scene, trial, b"0")
    images = [b"%d" % (number // 2) + b" " * (number % 2) for number in range(8)]
    with ThreadPoolExecutor(8) as processes:
        list(processes.map(lambda data: keep(scene, trial, data, decoder), images))
    found = kept(scene, trial)
    assert len(found) == len({one.pixels for one in found}) == sampled(scene, trial) == 3
    assert not keep(scene, trial, b"late")
    (first, *_) = found
    assert (first.answer, first.shadow_answer) == ("boot", "bag")
    assert scene.platform.artifacts.get(first.artifact).startswith(b"stored ")


def test_a_trial_that_has_ended_keeps_nothing_more_and_nothing_without_its_model(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start()
    assert keep(scene, trial.id, b"1")
    stop_trial(scene.platform, model=model.name, alias=trial.alias, trial=trial.id)
    assert not keep(scene, trial.id, b"2")
    assert not keep(scene, TrialId("trial_gone"), b"2")
    assert len(kept(scene, trial.id)) == 1
    delete_model(scene.platform, model=model.name, reason="a test")
    assert kept(scene, trial.id) == []


def test_samples_are_read_and_kept_from_collection_until_they_are_deleted(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start()
    keep(scene, trial.id, b"1")
    (one,) = kept(scene, trial.id)
    assert sample_form(scene.platform, **of(trial, model, one.pixels)) == one.artifact
    with pytest.raises(ImageNotFound):
        sample_form(scene.platform, **of(trial, model, sha256(b"other")))
    tidy(scene)
    assert scene.platform.artifacts.has(one.artifact)
    delete_samples(scene.platform, model=model.name, alias=trial.alias, trial=trial.id)
    with pytest.raises(ImageNotFound):
        sample_form(scene.platform, **of(trial, model, one.pixels))
    assert sampled(scene, trial.id) == 1  # the room stays taken
    assert tidy(scene).collected[ArtifactKind.UNKNOWN].count == 1
    assert not scene.platform.artifacts.has(one.artifact)


def stored_bytes(scene: Scene) -> int:
    with scene.platform.transactions(read_only=True) as work:
        return work[Datasets].stored_bytes()


def test_samples_take_part_in_the_quota_until_they_are_deleted(
    scene: Scene, model: Model, start: Start
) -> None:
    trial, before = start(), stored_bytes(scene)
    quota = before + 2 * len(b"stored 1")
    settings = scene.platform.settings.model_copy(update={"max_stored_bytes": quota})
    scene.platform = replace(scene.platform, settings=settings)
    for data in (b"1", b"2", b"2 "):
        assert keep(scene, trial.id, data)
    assert stored_bytes(scene) == quota
    with pytest.raises(QuotaExceeded):
        keep(scene, trial.id, b"3")
    assert {one.pixels for one in kept(scene, trial.id)} == {sha256(b"1"), sha256(b"2")}
    stop_trial(scene.platform, model=model.name, alias=trial.alias, trial=trial.id)
    other = start()
    assert keep(scene, other.id, b"1")  # its bytes are there already
    assert stored_bytes(scene) == quota
    for one in (trial, other):
        delete_samples(scene.platform, model=model.name, alias=one.alias, trial=one.id)
    assert stored_bytes(scene) == before
    assert keep(scene, other.id, b"3")


def test_an_erased_image_is_gone_from_samples_and_is_kept_no_more(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start()
    for data in (b"1", b"2"):
        keep(scene, trial.id, data)
    (gone,) = [one for one in kept(scene, trial.id) if one.pixels == sha256(b"1")]
    erasure = erase(scene, gone.pixels, retraining=Retraining.NONE)
    assert [one.pixels for one in kept(scene, trial.id)] == [sha256(b"2")]
    assert not scene.platform.artifacts.has(gone.artifact)
    certificate = certify(scene.platform, erasure.id)
    assert certificate["trials"] == [trial.id]
    (image,) = certificate["images"]
    assert (image["stored_as"], image["in_store"]) == ([gone.artifact], False)
    assert keep(scene, trial.id, b"1")
    assert len(kept(scene, trial.id)) == 1
    assert not scene.platform.artifacts.has(gone.artifact)
    with pytest.raises(ImageNotFound, match="erased"):
        sample_form(scene.platform, **of(trial, model, gone.pixels))
    with pytest.raises(ImageNotFound):
        order(scene, gone.pixels)
