"""Mixing new weights with old ones: ends to the bit, in log space, by the best validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from core.artifacts.store import BytesCallback, ignore_bytes
from core.clip.inputs import DecodedImages
from core.clip.model import ClipModel, load
from core.evaluation.queries import ClassAnswers, RetrievalAnswers
from core.evaluation.results import recall_at
from core.learning import trainer as session
from core.learning.methods import LearningMethod
from core.learning.mixing import TrainingEnd, mix
from core.learning.run import score
from core.learning.vocabulary import Columns
from core.recipes.fields import Averaging, Method
from core.recipes.rules import Recipe
from core.scoring.evaluator import VersionEvaluator
from core.training.trainer import Selection, TrainingSpec
from core.values import Digest, Json
from tests.support.learning.lessons import (
    Watching,
    red_and_blue,
    tensors,
    train,
    trained,
    with_recipe,
)
from tests.support.memory_artifacts import MemoryArtifacts

CPU = torch.device("cpu")


def seen(model: ClipModel, artifacts: MemoryArtifacts | None = None) -> DecodedImages:
    """Images as a model sees them when it is asked."""
    return DecodedImages(artifacts or MemoryArtifacts(), model.preprocess.evaluation_pixels)


def concluded(
    recipe: Recipe, new: float, old: float, score_of: Callable[[float], tuple[float, float]]
) -> tuple[float, Json]:
    """A one-parameter student after its method's end; `score_of` judges the parameter's value."""
    parameter = nn.Parameter(torch.tensor([new], dtype=torch.float64))
    ending = TrainingEnd(
        parameters={"p": parameter},
        anchor=lambda: {"p": torch.tensor([old], dtype=torch.float64)},
        score=lambda: score_of(parameter.item()),
    )
    notes = LearningMethod(recipe, Columns.of(recipe, ("a", "b"), (), ())).conclude(ending)
    return parameter.item(), notes


@pytest.mark.parametrize(("share", "end"), [(0.0, "old"), (1.0, "new")])
def test_shares_of_nothing_and_all_give_the_ends_to_the_bit(share: float, end: str) -> None:
    generator = torch.Generator().manual_seed(0)
    ends: Mapping[str, Tensor] = {
        name: torch.randn(1000, generator=generator) * 10 for name in ("new", "old")
    }
    ends["new"][:2], ends["old"][:2] = torch.tensor([3e38, -0.0]), torch.tensor([-3e38, -0.0])
    parameter = nn.Parameter(torch.zeros(1000))
    mix({"p": parameter}, {"p": ends["new"]}, {"p": ends["old"]}, share)
    assert torch.equal(parameter.detach().view(torch.int32), ends[end].view(torch.int32))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 0.9])
def test_a_share_is_the_new_weights_share(share: float) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    mix({"p": parameter}, {"p": torch.tensor([1.0, 5.0])}, {"p": torch.tensor([0.0, 3.0])}, share)
    torch.testing.assert_close(parameter.detach(), torch.tensor([share, 3 + 2 * share]))


@pytest.mark.parametrize("averaging", Averaging)
def test_an_update_mixed_with_nothing_or_all_has_the_digest_of_that_end(
    averaging: Averaging, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    """An average is mixed, not the last step."""
    averaged = with_recipe(spec, averaging=averaging, averaging_decay=0.5)
    tuned = train(artifacts, with_recipe(averaged, method=Method.FT)).digest
    for share, end in ((0.0, spec.parent), (1.0, tuned)):
        mixed = with_recipe(averaged, method=Method.IMM_MEAN, mixing=share)
        assert train(artifacts, mixed).digest == end


def test_over_two_updates_the_roots_share_falls_as_a_power(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    """θ2 = a new2 + (1 − a) (a new1 + (1 − a) root), each new one trained from the mixed last."""
    a = 0.3
    imm = with_recipe(spec, method=Method.IMM_MEAN, mixing=a)
    first = train(artifacts, imm).digest
    second = train(artifacts, replace(imm, parent=first)).digest
    ft = with_recipe(spec, method=Method.FT)
    new = [train(artifacts, replace(ft, parent=parent)).digest for parent in (spec.parent, first)]
    root, new_1, new_2 = (tensors(artifacts, version) for version in (spec.parent, *new))
    for name, value in tensors(artifacts, second).items():
        expected = (1 - a) ** 2 * root[name] + a * (1 - a) * new_1[name] + a * new_2[name]
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_wise_keeps_the_share_that_validates_best() -> None:
    def score_of(value: float) -> tuple[float, float]:
        return value, 1 - (value - 0.3) ** 2  # their sum is best at 0.8

    value, notes = concluded(Recipe(method=Method.WISE), new=1.0, old=0.0, score_of=score_of)
    assert value == pytest.approx(0.8)
    assert notes["mixing"] == 0.8
    assert [row["mixing"] for row in notes["tried"]] == [n / 10 for n in range(11)]
    for row in notes["tried"]:
        assert (row["new"], row["kept"]) == pytest.approx(score_of(row["mixing"]))


@pytest.mark.parametrize(
    ("score_of", "best"),
    [
        (lambda value: (0.5, 0.5), 0.0),
        (lambda value: (float(value > 0.35), 0.5), 0.4),
        (lambda value: (value, 1 - value), 0.0),  # a dead heat but for rounding
        (lambda value: (0.1 + 0.2 if value > 0.35 else 0.3, 0.0), 0.0),  # the same
    ],
)
def test_of_equals_wise_takes_the_smaller_share(
    score_of: Callable[[float], tuple[float, float]], best: float
) -> None:
    value, notes = concluded(Recipe(method=Method.WISE), new=1.0, old=0.0, score_of=score_of)
    assert notes["mixing"] == best
    assert value == pytest.approx(best)


def test_wise_is_told_what_validation_parts_say(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    """The notes are the scores of the versions that the shares make, as anyone would get them."""
    evaluator = VersionEvaluator(artifacts, device=CPU, threads=1)
    notes = trained(artifacts, with_recipe(spec, method=Method.WISE, epochs=4)).notes
    assert spec.selection is not None
    for row in notes["tried"][::5]:
        version = train(
            artifacts, with_recipe(spec, method=Method.IMM_MEAN, mixing=row["mixing"], epochs=4)
        )
        questions = (spec.selection.new, *spec.selection.kept)
        new, zero_shot, retrieval = evaluator.answer(version.digest, questions, Watching())
        recalls = [recall_at(retrieval.image_ranks, 1), recall_at(retrieval.caption_ranks, 1)]
        hits = [
            sum(given.hits(asked)) / len(asked.entries)
            for given, asked in ((new, spec.selection.new), (zero_shot, spec.selection.kept[0]))
        ]
        assert row["new"] == pytest.approx(hits[0])
        assert row["kept"] == pytest.approx((hits[1] + sum(recalls) / 2) / 2)
    best = max(row["new"] + row["kept"] for row in notes["tried"])
    chosen = next(r for r in notes["tried"] if r["mixing"] == notes["mixing"])
    assert chosen["new"] + chosen["kept"] == best


class Counting(MemoryArtifacts):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: Counter[Digest] = Counter()

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        self.read[digest] += 1
        return super().get(digest, moved)


def test_validation_images_are_read_once_for_all_shares_and_it_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without room to keep them they are read once a share, to the same choice and scores."""
    notes = []
    for room, times in ((2**20, 1), (0, 11)):
        monkeypatch.setattr(session, "SELECTION_BYTES", room)
        artifacts = Counting()
        spec = with_recipe(red_and_blue(artifacts), method=Method.WISE)
        notes.append(trained(artifacts, spec).notes)
        assert spec.selection is not None
        (greens, _) = spec.selection.kept
        assert [artifacts.read[entry.artifact] for entry in greens.entries] == [times] * 4
    assert notes[0] == notes[1]


def test_a_captioned_suite_counts_with_the_mean_of_both_directions(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    assert spec.selection is not None
    answers = [
        ClassAnswers(predicted=(0,) * 10),
        ClassAnswers(predicted=(0, 0, 1, 1)),
        RetrievalAnswers(image_ranks=(0, 0, 1, 1), caption_ranks=(0, 9, 9, 9)),
    ]
    model = load(spec.parent, artifacts)
    new, kept = score(model, spec.selection, lambda *_, **__: answers, Watching(), seen(model))
    assert new == pytest.approx(0.5)
    assert kept == pytest.approx((0.5 + (0.5 + 0.25) / 2) / 2)


def test_without_kept_suites_the_new_classes_decide(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    assert spec.selection is not None
    alone = Selection(new=spec.selection.new, kept=())
    model = load(spec.parent, artifacts)
    evaluator = VersionEvaluator(artifacts, device=CPU, threads=1)
    new, kept = score(model, alone, evaluator.ask, Watching(), seen(model, artifacts))
    assert 0 <= new <= 1
    assert kept == 0
