"""The evaluator on a real, minuscule CLIP."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from core.artifacts.store import BytesCallback, ignore_bytes
from core.clip.inputs import read_image
from core.clip.model import load, publish
from core.datasets.manifests import ManifestEntry, Part
from core.errors import ArtifactMissing, CancelRequested
from core.evaluation.queries import (
    ClassAnswers,
    ClassQuery,
    RetrievalAnswers,
    RetrievalQuery,
    are_finite,
)
from core.recipes.fields import DEFAULT_PROMPT
from core.rejection.queries import CalibrationQuery, source_of
from core.rejection.rules import Calibration
from core.scoring.evaluator import VersionEvaluator, predict
from core.scoring.rejection import calibration_of
from core.values import Digest, sha256
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

CLASSES = ("ankle boot", "bag", "coat")


class Steps:
    """A watch that remembers how far it was told to be, and stops at a step when asked to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.stop_at = stop_at

    def advance(self, phase: str, step: int, total: int, terms: object = None) -> None:
        self.seen.append((phase, step, total))
        if self.stop_at is not None and step >= self.stop_at:
            raise CancelRequested

    def checkpoint_due(self) -> bool:
        return False

    def moved(self, count: int) -> None: ...

    def skip_checkpoint(self, step: int, facts: object) -> None: ...

    def save_checkpoint(self, digest: Digest, step: int) -> None: ...


class CountingArtifacts(MemoryArtifacts):
    """Counts how often each artifact is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Digest] = []

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        self.reads.append(digest)
        return super().get(digest, moved)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> CountingArtifacts:
    return CountingArtifacts()


@pytest.fixture
def version(artifacts: CountingArtifacts) -> Digest:
    model = tiny_clip()
    weights = publish(model.config, model.network.state_dict(), artifacts, lambda *_: None)
    return weights.digest


def picture(artifacts: MemoryArtifacts, seed: int, *texts: str) -> ManifestEntry:
    noise = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "WEBP", lossless=True)
    return ManifestEntry(
        pixels=sha256(noise.tobytes()), artifact=artifacts.put(file.getvalue()), texts=texts
    )


def evaluator(artifacts: MemoryArtifacts, batch: int = 3) -> VersionEvaluator:
    return VersionEvaluator(artifacts, device=torch.device("cpu"), threads=1, batch=batch)


def test_best_class_is_the_nearest_prompt(artifacts: CountingArtifacts, version: Digest) -> None:
    entries = tuple(picture(artifacts, seed, CLASSES[seed % 3]) for seed in range(7))
    question = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT)
    (answers,) = evaluator(artifacts).answer(version, [question], Steps())

    model = load(version, artifacts)
    with torch.inference_mode():
        texts = model.encode_texts(DEFAULT_PROMPT.fill_all(CLASSES))
        expected = []
        for entry in entries:
            image = read_image(artifacts.get(entry.artifact))
            features = model.encode_images(model.preprocess.evaluation_pixels(image)[None])
            expected.append(int((features @ texts.T).argmax()))
    assert answers == ClassAnswers(predicted=tuple(expected))


def test_answers_stand_in_the_order_of_the_questions(
    artifacts: CountingArtifacts, version: Digest
) -> None:
    entries = tuple(picture(artifacts, seed, "bag") for seed in range(4))
    captioned = tuple(picture(artifacts, seed, "one text", "another") for seed in range(5))
    questions = [
        ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT),
        RetrievalQuery(entries=captioned),
    ]
    classes, retrieval = evaluator(artifacts).answer(version, questions, Steps())
    assert isinstance(classes, ClassAnswers)
    assert isinstance(retrieval, RetrievalAnswers)
    assert len(retrieval.image_ranks) == 5
    assert len(retrieval.caption_ranks) == 10


def test_thresholds_are_found_with_images_and_prompts_of_other_questions(
    artifacts: CountingArtifacts, version: Digest
) -> None:
    images = [picture(artifacts, seed, CLASSES[seed % 3]) for seed in range(130)]
    found = source_of("art", images, CLASSES, DEFAULT_PROMPT)
    assert found is not None
    test = found.on(Part.TEST)
    asked = (
        ClassQuery(entries=test, classes=CLASSES, prompt=DEFAULT_PROMPT),
        CalibrationQuery(sources=(found,)),
    )
    _, calibration = evaluator(artifacts, 40).answer(version, asked, Steps())
    assert max(artifacts.reads.count(entry.artifact) for entry in images) == 1

    model = load(version, artifacts)
    rows = {entry.pixels: place for place, entry in enumerate(found.entries)}
    with torch.inference_mode():
        pixels = [
            model.preprocess.evaluation_pixels(read_image(artifacts.get(entry.artifact)))
            for entry in found.entries
        ]
        features = model.encode_images(torch.stack(pixels))
        own = calibration_of(
            [found],
            lambda entries: features[[rows[entry.pixels] for entry in entries]],
            model.encode_texts,
            float(model.scale),
        )
    assert isinstance(calibration, Calibration)
    ((given,), (wanted,)) = calibration.sources, own.sources
    assert [one.size for one in given.lists] == [1, 2]
    for one, other in zip(given.lists, wanted.lists, strict=True):
        assert one.auroc == pytest.approx(other.auroc, abs=0.01)
        assert one.thresholds[0].threshold == pytest.approx(other.thresholds[0].threshold, abs=1e-4)


def test_shared_images_are_read_once(artifacts: CountingArtifacts, version: Digest) -> None:
    entries = tuple(picture(artifacts, seed, "bag") for seed in range(5))
    questions = [
        ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT),
        ClassQuery(entries=entries[:3], classes=(*CLASSES, "hat"), prompt=DEFAULT_PROMPT),
    ]
    evaluator(artifacts).answer(version, questions, Steps())
    assert [artifacts.reads.count(entry.artifact) for entry in entries] == [1] * 5


def test_company_does_not_change_an_answer(artifacts: CountingArtifacts, version: Digest) -> None:
    entries = tuple(picture(artifacts, seed, "bag") for seed in range(6))
    question = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT)
    other = ClassQuery(
        entries=tuple(picture(artifacts, seed, "hat") for seed in range(20, 25)),
        classes=("hat", "a rather long class name"),
        prompt=DEFAULT_PROMPT,
    )
    (alone,) = evaluator(artifacts).answer(version, [question], Steps())
    _, beside = evaluator(artifacts, batch=4).answer(version, [other, question], Steps())
    assert alone == beside


def test_progress_rises_to_its_total(artifacts: CountingArtifacts, version: Digest) -> None:
    entries = tuple(picture(artifacts, seed, "bag") for seed in range(7))
    question = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT)
    monitor = Steps()
    evaluator(artifacts).answer(version, [question], monitor)
    assert {phase for phase, _, _ in monitor.seen} == {"evaluating"}
    assert [step for _, step, _ in monitor.seen] == [0, 3, 6, 9, 10]
    assert {total for _, _, total in monitor.seen} == {10}


def test_watch_stops_the_evaluation(artifacts: CountingArtifacts, version: Digest) -> None:
    entries = tuple(picture(artifacts, seed, "bag") for seed in range(7))
    question = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT)
    with pytest.raises(CancelRequested):
        evaluator(artifacts).answer(version, [question], Steps(stop_at=6))


def test_missing_image_is_named(artifacts: CountingArtifacts, version: Digest) -> None:
    entry = picture(artifacts, 0, "bag")
    artifacts.delete(entry.artifact)
    question = ClassQuery(entries=(entry,), classes=CLASSES, prompt=DEFAULT_PROMPT)
    with pytest.raises(ArtifactMissing):
        evaluator(artifacts).answer(version, [question], Steps())


def test_nothing_asked_is_nothing_answered(artifacts: CountingArtifacts, version: Digest) -> None:
    assert evaluator(artifacts).answer(version, [], Steps()) == ()


def test_of_equal_classes_the_first_is_given() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    classes = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert predict(images, classes) == (1, 0)


def test_without_numbers_no_class_is_given() -> None:
    images = torch.tensor([[float("nan"), 0.0], [0.0, 1.0]])
    classes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert predict(images, classes) == (2, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_give_no_answer(
    artifacts: CountingArtifacts, value: float
) -> None:
    model = tiny_clip()
    with torch.no_grad():
        model.network.visual.proj.fill_(value)
    weights = publish(model.config, model.network.state_dict(), artifacts, lambda *_: None)
    entries = tuple(picture(artifacts, seed, "bag") for seed in range(4))
    questions = [
        ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT),
        RetrievalQuery(entries=entries),
    ]
    given = evaluator(artifacts).answer(weights.digest, questions, Steps())
    classes, ranks = given
    assert isinstance(classes, ClassAnswers)
    assert isinstance(ranks, RetrievalAnswers)
    assert not any(classes.hits(questions[0]))  # type: ignore[arg-type]
    assert 0 not in ranks.image_ranks + ranks.caption_ranks
    assert [are_finite(*pair) for pair in zip(given, questions, strict=True)] == [False, False]
