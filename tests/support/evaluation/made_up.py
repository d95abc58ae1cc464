"""Made-up plans and answers, on which the gate and its second implementation are compared."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from core.recipes.fields import PromptTemplate
from tests.support.evaluation.evaluations import (
    EARLIER,
    ROOT,
    entries,
    live_line,
    policy,
    second_update,
    suite,
    third_update,
    with_duplicates,
)
from tests.support.factories import digest

EMOJI = suite(
    "emoji",
    with_duplicates(entries("many emoji", [("cat",), ("dog",), ("Bag",), ("sun",)] * 150)),
    second_update().suites[0].kind,
)

SHAPES = suite(
    "shapes",
    with_duplicates(
        entries("many shapes", [("a square", "a box"), ("a ring",), ("a dot", "a point")] * 40)
    ),
    second_update().suites[1].kind,
)

BOTH = [EMOJI, SHAPES]


def larger(count: int) -> list[Any]:
    """The holdouts of the line, with more images; two are in both by another class, one a copy."""
    found: list[Any] = []
    for n, one in enumerate(EARLIER):
        names = [(name,) for name in one.version.update_classes]
        images = entries(f"more {n}", names * count)
        twice = tuple(
            replace(image, texts=names[1], pixels=pixels, near_duplicate_of=oldest)
            for old in found
            for image, pixels, oldest in (
                (old.holdout[0], old.holdout[0].pixels, None),
                (old.holdout[1], digest("saved again"), old.holdout[1].pixels),
            )
        )
        found.append(replace(one, holdout=twice + images))
    return found


def grown(images: Any, *sizes: int) -> Any:
    """Images of which the last so many came with the second edition, the third and so on."""
    born = [1] * (len(images) - sum(sizes))
    for number, size in enumerate(sizes, 2):
        born += [number] * size
    return tuple(replace(one, edition=n) for one, n in zip(images, born, strict=True))


def larger_suite(one: Any, *sizes: int) -> Any:
    images = grown(one.manifest.entries, *sizes)
    return replace(one, manifest=replace(one.manifest, entries=images))


OTHER = PromptTemplate("a drawing of {name}")


def in_other_prompt(live: Any) -> Any:
    """A live line that answers callers in another prompt."""
    updates = tuple(
        replace(one, version=replace(one.version, prompt=OTHER)) for one in live.updates
    )
    return replace(live, version=updates[-1].version, updates=updates)


def flipping(seed: int, rate: float, loss: float = 0.0) -> Callable[[Any, Any, int], bool]:
    """Each version is right about most; the candidate (the highest number) loses some of it."""

    def right(who: Any, question: Any, index: int) -> bool:
        pixels = question.entries[index % len(question.entries)].pixels
        drawn = random.Random(f"{seed} {pixels} {index}").random()
        again = random.Random(f"{seed} {who.number} {pixels} {index}").random()
        right = drawn < 0.7
        lost = again < rate + (loss if who.number in {3, 4} else 0.0)
        return right != lost

    return right


def grown_line() -> Any:
    """A line whose suites and earlier holdouts have grown, some of them twice."""
    return third_update(
        earlier=[
            replace(one, holdout=grown(one.holdout, 30 * (n + 1)))
            for n, one in enumerate(larger(60))
        ],
        suites=[larger_suite(EMOJI, 300, 200), larger_suite(SHAPES, 60)],
        policy=policy(minimum_count=200, negative_flips=0.2, holdout_tolerance=0.01),
    )


def in_several_prompts() -> Any:
    """An update whose root and live version answer callers in another prompt."""
    return second_update(
        live=in_other_prompt(live_line()),
        root=replace(ROOT, prompt=OTHER),
        suites=BOTH,
        policy=policy(minimum_count=200, negative_flips=0.2, class_tolerance=0.1),
    )
