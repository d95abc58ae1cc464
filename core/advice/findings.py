"""Findings of an advice: what images, class names and the parent say about an order."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.datasets.manifests import SPLIT_RULE, Manifest, ManifestEntry, Side
from core.values import Json, counted

_SHOWN = 8  # names in a message; the facts list all of them


class Severity(StrEnum):
    """The severity of a finding: a warning advises a change."""

    INFO = "info"
    WARNING = "warning"  # the update can start, but may not give what is expected of it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to consider before an update is ordered."""

    code: str  # stable
    severity: Severity
    message: str
    facts: Json = field(default_factory=dict)


# The images of a dataset version.

FEW = 16  # training images of a class: the most that few-shot studies of CLIP use


@dataclass(frozen=True, kw_only=True)
class ClassImages:
    """The images of one class."""

    name: str
    train: int
    holdout: int
    test: int  # of the holdout: those that the verdict is based on


def images_per_class(
    manifest: Manifest, tested: Sequence[ManifestEntry]
) -> tuple[ClassImages, ...]:
    """Count the images of each class; `tested` are those that the verdict is based on."""
    tests = Counter(entry.class_name for entry in tested)
    return tuple(
        ClassImages(name=name, train=sides["train"], holdout=sides["holdout"], test=tests[name])
        for name, sides in manifest.counts().items()
    )


def image_findings(
    manifest: Manifest, classes: Sequence[ClassImages], *, test: int
) -> Iterator[Finding]:
    """Yield what the numbers of images say.

    `classes` are the manifest's, of captions none. The verdict is based on `test` images.
    """
    train, holdout = len(manifest.on(Side.TRAIN)), len(manifest.on(Side.HOLDOUT))
    yield Finding(
        code="images",
        severity=Severity.INFO,
        message=f"The dataset has {counted(train, 'training image')} and a holdout of "
        f"{counted(holdout, 'image')}. The verdict is based on {counted(test, 'test image')} of "
        f"the holdout.{f' {SPLIT_RULE}' if classes else ''}",
        facts={"train": train, "holdout": holdout, "test": test},
    )
    few = {row.name: row.train for row in classes if row.train < FEW}
    if few:
        shown = listed([f"{name} ({count})" for name, count in few.items()])
        yield Finding(
            code="few_training_images",
            severity=Severity.WARNING,
            message=f"These classes have fewer than {FEW} training images: {shown}. "
            "Add images of them.",
            facts={"classes": few, "least": FEW},
        )
    untested = [row.name for row in classes if not row.test]
    if untested:
        yield Finding(
            code="no_test_images",
            severity=Severity.WARNING,
            message=f"These classes have no test image, so the verdict does not cover them: "
            f"{listed(untested)}. Add images of them: about one in six becomes a test image.",
            facts={"classes": untested},
        )
    yield from _near_duplicates(manifest)


def _near_duplicates(manifest: Manifest) -> Iterator[Finding]:
    sizes = Counter(entry.group for entry in manifest.entries)
    groups = [size for size in sizes.values() if size > 1]
    if groups:
        images = sum(groups)
        yield Finding(
            code="near_duplicates",
            severity=Severity.INFO,
            message=f"{images:,} of {counted(len(manifest.entries), 'image')} are near-duplicates "
            f"of one another, in {counted(len(groups), 'group')}. A group teaches hardly more than "
            "one image does.",
            facts={"images": images, "groups": len(groups)},
        )


# Class names that are in use already.


def name_findings(
    classes: Sequence[str], *, learned: Sequence[str], suites: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Yield which classes were learned before or are in a suite; `suites` are classes by name."""
    same, respelt = _shared(classes, learned)
    if same:
        yield Finding(
            code="class_learned_before",
            severity=Severity.INFO,
            message=f"These classes were learned before and are taught again: {listed(same)}. "
            "Rename those that now mean something else.",
            facts={"classes": same},
        )
    if respelt:
        yield _respelt(respelt, "classes learned before", {})
    for suite, names in suites.items():
        same, respelt = _shared(classes, names)
        if same:
            yield Finding(
                code="class_in_suite",
                severity=Severity.INFO,
                message=f"These classes are also in the suite {suite}: {listed(same)}. "
                "Rename those that mean something else there.",
                facts={"suite": suite, "classes": same},
            )
        if respelt:
            yield _respelt(respelt, f"classes of the suite {suite}", {"suite": suite})


def _shared(
    classes: Sequence[str], others: Sequence[str]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the classes that are among the others, and those that are there in another case."""
    exact = set(others)
    by_prompt = {name.lower(): name for name in others}
    same = [name for name in classes if name in exact]
    respelt = [
        (name, by_prompt[name.lower()])
        for name in classes
        if name not in exact and name.lower() in by_prompt
    ]
    return same, respelt


def _respelt(pairs: Sequence[tuple[str, str]], others: str, facts: Mapping[str, str]) -> Finding:
    shown = listed([f"{name} ({other})" for name, other in pairs])
    return Finding(
        code="class_differs_in_case",
        severity=Severity.WARNING,
        message=f"These classes differ from {others} only in case: {shown}. Each pair has the same "
        "prompt and counts as one class: use one spelling, or rename those that mean something "
        "else.",
        facts={**facts, "classes": dict(pairs)},
    )


# What the parent recognises already, from a sample of the images.

PER_CLASS = 20  # sampled images
MOST = 400  # of all classes together
KNOWN = 0.9  # share of its sampled images from which on a class counts as known


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """The count of sampled images, and of those that the parent recognises."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """The parent's zero-shot accuracy."""
        return self.right / self.asked


def sample(manifest: Manifest) -> tuple[ManifestEntry, ...]:
    """Return at most `PER_CLASS` images of each class, one of each group of near-duplicates.

    Entries are sorted by their pixels' SHA-256, so the first ones are a random choice that is
    always the same.
    """
    each = min(PER_CLASS, max(1, MOST // len(manifest.classes)))
    found: dict[str, dict[str, ManifestEntry]] = {}
    for entry in manifest.entries:
        groups = found.setdefault(entry.class_name, {})
        if len(groups) < each:
            groups.setdefault(entry.group, entry)
    return tuple(entry for groups in found.values() for entry in groups.values())[:MOST]


def recognitions(
    asked: Sequence[ManifestEntry], answers: Sequence[str]
) -> Mapping[str, Recognition]:
    """Count right answers by class; names that differ only in case have the same prompt."""
    right: dict[str, list[bool]] = {}
    for entry, answer in zip(asked, answers, strict=True):
        right.setdefault(entry.class_name, []).append(answer.lower() == entry.class_name.lower())
    return {name: Recognition(right=sum(hits), asked=len(hits)) for name, hits in right.items()}


def overall(recognised: Mapping[str, Recognition]) -> Recognition:
    """Return the sum over all classes."""
    return Recognition(
        right=sum(one.right for one in recognised.values()),
        asked=sum(one.asked for one in recognised.values()),
    )


def zero_shot_findings(
    recognised: Mapping[str, Recognition], *, competing: int
) -> Iterator[Finding]:
    """Yield how much the parent recognises among `competing` classes, and which it knows."""
    total = overall(recognised)
    classes = "class" if competing == 1 else "classes"
    yield Finding(
        code="zero_shot",
        severity=Severity.INFO,
        message=f"The parent recognises {total.right:,} of {counted(total.asked, 'sampled image')} "
        f"({percent(total.share)}) among {competing:,} {classes}.",
        facts={"right": total.right, "asked": total.asked},
    )
    known = {name: one for name, one in recognised.items() if one.share >= KNOWN}
    if known:
        shown = listed([f"{name} ({one.right} of {one.asked})" for name, one in known.items()])
        yield Finding(
            code="class_known",
            severity=Severity.WARNING,
            message=f"The parent already recognises at least {percent(KNOWN)} of these classes' "
            f"sampled images: {shown}. Leave these classes out unless the rest must improve.",
            facts={"classes": list(known)},
        )


def zero_shot_unknown(reason: str) -> Finding:
    """Return the finding that the parent could not be asked."""
    return Finding(
        code="zero_shot_unknown",
        severity=Severity.WARNING,
        message=f"What the parent already recognises is unknown. {reason}",
        facts={"reason": reason},
    )


# Words.


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence, such as "a, b and 3 more"."""
    rest = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def percent(share: float) -> str:
    """Format a share: 0.2 is "20 %"."""
    return f"{100 * share:.0f} %"
