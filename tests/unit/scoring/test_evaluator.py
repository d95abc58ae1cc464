"""The evaluator on a real, minuscule CLIP."""

import threading
from dataclasses import replace
from math import nan

import pytest
import torch

from core.artifacts.store import BytesCallback, ignore_bytes
from core.clip.inputs import read_image
from core.clip.model import load
from core.datasets.manifests import Part
from core.engines import opening, openvino
from core.errors import ArtifactMissing, CancelRequested
from core.evaluation.answers import ClassAnswers, RetrievalAnswers
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.images.views import View
from core.recipes.fields import DEFAULT_PROMPT
from core.registry.versions import ServingPrecision
from core.rejection.queries import CalibrationQuery, source_of
from core.rejection.rules import Calibration
from core.scoring.evaluator import (
    IMAGES_AT_ONCE,
    VersionEvaluator,
    caption_ranks,
    image_ranks,
    predict,
    probabilities,
)
from core.scoring.rejection import calibration_of
from core.values import Digest, sha256
from tests.support.learning.lessons import Watching, noise_image
from tests.support.learning.tiny_clip import stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

CLASSES = ("ankle boot", "bag", "coat")


class CountingArtifacts(MemoryArtifacts):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Digest] = []

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        self.reads.append(digest)
        return super().get(digest, moved)


@pytest.fixture
def artifacts() -> CountingArtifacts:
    return CountingArtifacts()


@pytest.fixture
def version(artifacts: CountingArtifacts) -> Digest:
    return stored(tiny_clip(), artifacts).digest


def evaluator(artifacts: MemoryArtifacts, batch: int = 3) -> VersionEvaluator:
    return VersionEvaluator(artifacts, device=torch.device("cpu"), threads=1, batch=batch)


def test_best_class_is_the_nearest_prompt(artifacts: CountingArtifacts, version: Digest) -> None:
    entries = tuple(noise_image(artifacts, seed, CLASSES[seed % 3]) for seed in range(7))
    question = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT)
    (answers,) = evaluator(artifacts).answer(version, [question], Watching())

    model = load(version, artifacts)
    with torch.inference_mode():
        texts = model.encode_texts(DEFAULT_PROMPT.fill_all(CLASSES))
        expected, sure = [], []
        for entry in entries:
            image = read_image(artifacts.get(entry.artifact))
            features = model.encode_images(model.preprocess.evaluation_pixels(image)[None])
            shares = (model.scale * features @ texts.T).softmax(dim=1)
            expected.append(int(shares.argmax()))
            sure.append(float(shares.max()))
    assert answers == ClassAnswers(predicted=tuple(expected))
    assert answers.probabilities == pytest.approx(sure, abs=1e-3)
    assert len(set(answers.probabilities)) > 5  # no two images look the same to it


def test_a_version_asked_again_encodes_only_images_that_it_was_not_asked_about_last(
    artifacts: CountingArtifacts, version: Digest
) -> None:
    entries = tuple(noise_image(artifacts, seed, CLASSES[seed % 3]) for seed in range(7))
    question = ClassQuery(entries=entries[:6], classes=CLASSES, prompt=DEFAULT_PROMPT, views=2)
    wider = replace(question, entries=entries, classes=(*CLASSES, "dress"))
    keeping = VersionEvaluator(artifacts, device=torch.device("cpu"), threads=1, batch=3)
    forgetting = VersionEvaluator(
        artifacts, device=torch.device("cpu"), threads=1, batch=3, kept_bytes=0
    )

    def images_read(by: VersionEvaluator, asked: ClassQuery) -> set[int]:
        artifacts.reads.clear()
        (answers,) = by.answer(version, [asked], Watching())
        (expected,) = evaluator(artifacts).ask(load(version, artifacts), [asked], Watching())
        assert answers == expected  # of an evaluator that reads each image once
        return {n for n, entry in enumerate(entries) if artifacts.reads.count(entry.artifact) > 1}

    assert images_read(keeping, question) == set(range(6))
    assert images_read(keeping, wider) == {6}
    assert images_read(keeping, replace(question, entries=entries[3:])) == set()
    assert images_read(keeping, question) == {0, 1, 2}  # what was not asked last is not kept
    assert images_read(keeping, replace(question, views=3)) == set(range(6))
    for _ in range(2):
        assert images_read(forgetting, question) == set(range(6))


def test_questions_are_answered_in_their_order_and_shared_images_read_once(
    artifacts: CountingArtifacts, version: Digest
) -> None:
    entries = tuple(noise_image(artifacts, seed, "one text", "another") for seed in range(5))
    things = tuple(replace(entry, texts=("bag",)) for entry in entries[:3])
    questions = [
        ClassQuery(entries=things, classes=CLASSES, prompt=DEFAULT_PROMPT),
        RetrievalQuery(entries=entries),
    ]
    classes, retrieval = evaluator(artifacts).answer(version, questions, Watching())
    assert isinstance(classes, ClassAnswers)
    assert isinstance(retrieval, RetrievalAnswers)
    assert retrieval.image_ranks == (0,) * 5  # all images have both captions
    assert retrieval.caption_ranks == (0,) * 10
    assert [artifacts.reads.count(entry.artifact) for entry in entries] == [1] * 5
    assert evaluator(artifacts).answer(sha256(b"never stored"), [], Watching()) == ()


@pytest.mark.parametrize("fault", [ArtifactMissing, CancelRequested])
def test_an_evaluation_that_ends_early_leaves_no_thread(
    fault: type[Exception], artifacts: CountingArtifacts, version: Digest
) -> None:
    """Images are decoded ahead of the model: the sixth is missing, in the second batch of three."""
    entries = tuple(noise_image(artifacts, seed, "bag") for seed in range(7))
    monitor = Watching()
    if fault is ArtifactMissing:
        artifacts.delete(entries[5].artifact)
    else:
        monitor = Watching(stop_in="evaluating", stop_at=6, stop_with=fault)
    question = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT)
    with pytest.raises(fault):
        evaluator(artifacts).answer(version, [question], monitor)
    assert monitor.steps == [("evaluating", step, 10) for step in (0, 3, 6)]
    assert not [one for one in threading.enumerate() if one.name.startswith("ahead")]


def test_thresholds_are_found_with_images_and_prompts_of_other_questions(
    artifacts: CountingArtifacts, version: Digest
) -> None:
    images = [noise_image(artifacts, seed, CLASSES[seed % 3]) for seed in range(130)]
    found = source_of("art", images, CLASSES, DEFAULT_PROMPT)
    assert found is not None
    test = found.on(Part.TEST)
    asked = (
        ClassQuery(entries=test, classes=CLASSES, prompt=DEFAULT_PROMPT),
        CalibrationQuery(sources=(found,)),
    )
    _, calibration = evaluator(artifacts, 40).answer(version, asked, Watching())
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


def test_answers_in_bf16_are_told_apart_by_the_release_that_computes_them(
    artifacts: CountingArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, (fp32, bf16) = evaluator(artifacts), ServingPrecision
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    for release in ("2025.1", "2026.0"):
        monkeypatch.setattr(opening, "release_of", {"openvino": release, "onnx": "1"}.get)
        assert (asked.release(fp32), asked.release(bf16)) == (None, release)
    monkeypatch.setattr(openvino, "has_bf16", lambda: False)
    assert asked.release(bf16) is None


def test_company_does_not_change_an_answer(artifacts: CountingArtifacts, version: Digest) -> None:
    entries = tuple(noise_image(artifacts, seed, "bag") for seed in range(6))
    question = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT)
    other = ClassQuery(
        entries=tuple(noise_image(artifacts, seed, "hat") for seed in range(20, 25)),
        classes=("hat", "a rather long class name"),
        prompt=DEFAULT_PROMPT,
    )
    (alone,) = evaluator(artifacts).answer(version, [question], Watching())
    _, beside = evaluator(artifacts, batch=4).answer(version, [other, question], Watching())
    assert alone == beside


def test_a_probability_is_that_of_the_softmax_over_all_classes() -> None:
    """Of equal classes the first is given, and none to an image without numbers."""
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [nan, 0.0]]).repeat(IMAGES_AT_ONCE, 1)
    classes = torch.tensor([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    predicted = predict(images, classes)
    found = probabilities(images, classes, predicted, 10.0)
    assert predicted[:3] == (0, 1, 3)
    expected = (1 / (2 + 2.718281828**-4), 1 / (1 + 2 * 2.718281828**-8), 0.0)
    assert found[:3] == pytest.approx(expected, abs=1e-4)
    assert found == found[:3] * IMAGES_AT_ONCE


def test_views_are_answered_as_images_and_their_file_is_read_once(
    artifacts: CountingArtifacts, version: Digest
) -> None:
    """Of five images, the first three are also in a query whose views may be mirrored."""
    entries = tuple(noise_image(artifacts, seed, CLASSES[seed % 3]) for seed in range(5))
    plain = ClassQuery(entries=entries, classes=CLASSES, prompt=DEFAULT_PROMPT, views=2)
    mirrored = replace(plain, entries=entries[:3], mirror=True)
    single = replace(plain, views=0, classes=CLASSES[:2] + CLASSES)
    given = evaluator(artifacts, 4).answer(version, [plain, mirrored, single], Watching())
    assert [artifacts.reads.count(entry.artifact) for entry in entries] == [1] * 5

    model = load(version, artifacts)
    with torch.inference_mode():
        texts = model.encode_texts(DEFAULT_PROMPT.fill_all(CLASSES))
        for asked, answers in zip((plain, mirrored), given, strict=False):
            assert isinstance(answers, ClassAnswers)
            shown = [
                [
                    View(number=number, mirror=asked.mirror).of(
                        read_image(artifacts.get(entry.artifact)), entry.pixels
                    )
                    for entry in asked.entries
                ]
                for number in (1, 2)
            ]
            pixels = [torch.stack([*map(model.preprocess.evaluation_pixels, one)]) for one in shown]
            expected = [predict(model.encode_images(one), texts) for one in pixels]
            assert answers.views == tuple(expected)
    assert isinstance(given[2], ClassAnswers)
    assert given[2].views == ()


def test_an_image_without_a_caption_is_found_and_finds_nothing() -> None:
    images, captions = torch.eye(3), torch.eye(3)[:2]
    owner = torch.tensor([0, 2])  # the second image has none
    assert image_ranks(images, captions, owner) == (0, 0, 1)
    assert caption_ranks(images, captions, owner) == (0, 2)
