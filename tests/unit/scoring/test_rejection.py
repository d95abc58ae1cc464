"""A version's thresholds from features, beside a computation image by image."""

import pytest
import torch
from torch import Tensor

from core.datasets.manifests import ManifestEntry, Part
from core.recipes.fields import PromptTemplate
from core.rejection.queries import CalibrationSource, circle_of, list_sizes, list_starts
from core.rejection.rules import POOLED, Calibration, Observed, Scores, Statistic, calibrate
from core.scoring.rejection import calibration_of
from tests.support.evaluation.evaluations import entries

WIDTH, SCALE = 8, 20.0


def source(name: str, classes: tuple[str, ...], each: int) -> CalibrationSource:
    """A source with so many images of each class in each part."""
    images = [
        entry
        for part in Part
        for entry in entries(name, [(one.upper(),) for one in classes] * each, part)
    ]
    prompt = PromptTemplate(f"{name} {{name}}")
    return CalibrationSource(name=name, entries=tuple(images), classes=classes, prompt=prompt)


PETS = source("pets", ("cat", "dog", "okapi", "emu"), 9)

FRUIT = source("fruit", ("fig", "pear", "plum"), 12)


def unit(seed: int, towards: Tensor | None = None) -> Tensor:
    """A random unit vector, rather near another one."""
    found = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
    found = found if towards is None else found + 4 * towards
    return found / found.norm()


class Tower:
    """Features of texts, and of images near the text of their class."""

    def __init__(self, *sources: CalibrationSource, broken: str | None = None) -> None:
        numbers = {
            text: number
            for number, text in enumerate(
                text for one in sources for text in one.prompt.fill_all(one.classes)
            )
        }
        self.of_texts = {text: unit(number) for text, number in numbers.items()}
        self.of_images: dict[str, Tensor] = {}
        for one in sources:
            for entry in one.entries:
                own = self.of_texts[one.prompt.fill(entry.class_name)]
                self.of_images[entry.pixels] = unit(int(entry.pixels[:8], 16), towards=own)
        if broken is not None:
            self.of_images[broken] = torch.full((WIDTH,), torch.nan)

    def images(self, asked: tuple[ManifestEntry, ...]) -> Tensor:
        return torch.stack([self.of_images[entry.pixels] for entry in asked])

    def texts(self, asked: tuple[str, ...]) -> Tensor:
        return torch.stack([self.of_texts[text] for text in asked])


def observed(tower: Tower, asked: CalibrationSource, part: Part, size: int) -> Observed:
    """The same image by image and list by list, as the statistics are defined."""
    kinds = list(Statistic) if size > 1 else [Statistic.MAX_COSINE]
    scores: dict[Statistic, tuple[list[float], list[float]]] = {kind: ([], []) for kind in kinds}
    circle = [asked.classes[place] for place in circle_of(asked.classes)]
    for entry in asked.on(part):
        at = circle.index(entry.class_name.lower())
        for unknown, start in enumerate(list_starts(entry.pixels, at, size, len(circle))):
            names = (circle + circle)[start : start + size]
            columns = tower.texts(asked.prompt.fill_all(names))
            cosines = columns @ tower.of_images[entry.pixels]
            greatest = cosines.sort(descending=True).values.tolist()
            probability = float((SCALE * cosines).softmax(dim=0).max())
            for kind in kinds:
                scores[kind][unknown].append(kind.of(greatest[:2], probability))
    return Observed(
        scores={kind: Scores(known=known, unknown=rest) for kind, (known, rest) in scores.items()}
    )


def test_thresholds_are_those_of_a_computation_image_by_image() -> None:
    tower = Tower(PETS, FRUIT)
    found = calibration_of([PETS, FRUIT], tower.images, tower.texts, SCALE)
    assert [one.name for one in found.sources] == ["pets", "fruit", POOLED]
    for asked, given in zip((PETS, FRUIT), found.sources, strict=False):
        assert (given.classes, given.prompt) == (asked.classes, asked.prompt.text)
        assert [one.size for one in given.lists] == list(list_sizes(len(asked.classes)))
        for calibration in given.lists:
            parts = [observed(tower, asked, part, calibration.size) for part in Part]
            own = calibrate(calibration.size, *parts)
            assert own is not None
            assert calibration.statistic is own.statistic
            assert calibration.auroc == pytest.approx(own.auroc, abs=1e-3)
            for one, other in zip(calibration.thresholds, own.thresholds, strict=True):
                assert one.threshold == pytest.approx(other.threshold, abs=1e-5)
                for rate in ("false_rejection", "false_acceptance"):
                    measured, expected = getattr(one, rate), getattr(other, rate)
                    assert measured.images == expected.images
                    assert measured.rate == pytest.approx(expected.rate, abs=0.02)


def test_all_sources_together_have_the_images_of_each() -> None:
    tower = Tower(PETS, FRUIT)
    *_, pooled = calibration_of([PETS, FRUIT], tower.images, tower.texts, SCALE).sources
    assert [one.size for one in pooled.lists] == [1, 2, 3]
    images = [one.thresholds[0].false_rejection.images for one in pooled.lists]
    assert images == [4 * 9 + 3 * 12, 4 * 9 + 3 * 12, 4 * 9]  # only pets have lists of 3


def test_features_that_are_not_finite_give_no_threshold() -> None:
    tower = Tower(PETS, FRUIT, broken=FRUIT.entries[3].pixels)
    assert calibration_of([PETS, FRUIT], tower.images, tower.texts, SCALE) == Calibration()
