"""Compare two versions of a model by the answers that their evaluations kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.comparison.answers import (
    AnsweredQuery,
    ChangedAnswer,
    Comparison,
    Flip,
    FlipKind,
    cell_images,
    compare,
    flips,
)
from core.errors import AnswersMissing, FieldInvalid, VersionNotFound
from core.evaluation.stored_answers import StoredAnswers, read_answers
from core.gate.rows import Policies
from core.platform import Platform
from core.registry.read import ancestors
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import Json


@dataclass(frozen=True, kw_only=True)
class VersionComparison:
    """Two versions of a model, and how their answers differ."""

    model: Model
    before: Version
    now: Version
    comparison: Comparison
    answered: Sequence[AnsweredQuery]  # what it compares
    scores: Sequence[Json]  # each version's own, from its report; without those that have none
    left_out: Sequence[tuple[str, int]]  # suite or holdout, and the version that has not answered


def compare_versions(platform: Platform, model: str, before: int, now: int) -> VersionComparison:
    """Return how the answers of two versions differ.

    Raises ModelNotFound, VersionNotFound, AnswersMissing, or FieldInvalid for one version twice.
    """
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        old, new = (work[Versions].get(found.id, number) for number in (before, now))
        alpha = work[Policies].get(found.policy).alpha
    if before == now:
        raise FieldInvalid("Name two different versions.", pointer="#query/versions")
    stored, answered, left_out = _answered_by_both(platform, found, old, new)
    reports = [stored.reports.get(number) for number in (before, now)]
    return VersionComparison(
        model=found,
        before=old,
        now=new,
        comparison=compare(answered, before=before, now=now, alpha=alpha),
        answered=answered,
        scores=[report["scores"][0] for report in reports if report and report.get("scores")],
        left_out=left_out,
    )


def flips_since(
    platform: Platform,
    model: str,
    version: int,
    against: str,
    *,
    kind: FlipKind | None = None,
    suite: str | None = None,
    class_name: str | None = None,
) -> tuple[Version, Version, list[Flip]]:
    """Return a version's baseline, the version, and the flips from the one to the other.

    They are all, or those of a kind, a suite or a class, whose name is compared without case.
    `against` is "parent", "root" or a version's number. Raises ModelNotFound, VersionNotFound,
    AnswersMissing, or FieldInvalid if it is the version itself.
    """
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        now = work[Versions].get(found.id, version)
        if against.isdecimal():
            before = work[Versions].get(found.id, int(against))
        else:
            before = _ancestor(now, ancestors(work, now), against)
    if before.number == now.number:
        raise FieldInvalid("Name another version.", pointer="#query/against")
    _, answered, _ = _answered_by_both(platform, found, before, now)
    wanted = [
        flip
        for flip in flips(answered)
        if kind in {None, flip.kind}
        and suite in {None, flip.name}
        and (class_name is None or (flip.class_name or "").lower() == class_name.lower())
    ]
    return before, now, wanted


def changed_in_cell(
    platform: Platform,
    model: str,
    before: int,
    now: int,
    *,
    name: str,
    class_name: str,
    predicted: str,
) -> list[ChangedAnswer]:
    """Return the images of a cell of a suite's or holdout's confusion matrix that changed.

    Raises ModelNotFound, VersionNotFound or AnswersMissing.
    """
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        old, new = (work[Versions].get(found.id, number) for number in (before, now))
    _, answered, _ = _answered_by_both(platform, found, old, new)
    return [
        image
        for one in answered
        if one.asked.name == name
        for image in cell_images(one, class_name, predicted)
    ]


def _ancestor(version: Version, line: Sequence[Version], which: str) -> Version:
    if not line:
        raise VersionNotFound(
            f"Version {version.number} is a root: it has no parent and no other root.",
            version=version.number,
        )
    return line[-1] if which == "parent" else line[0]


def _answered_by_both(
    platform: Platform, model: Model, before: Version, now: Version
) -> tuple[StoredAnswers, list[AnsweredQuery], list[tuple[str, int]]]:
    """Return the answers, the queries with both, and what only one of the versions has answered."""
    stored = read_answers(platform, model, (before, now), probabilities=True)
    with platform.transactions(read_only=True) as work:
        meanings = work[Policies].get(model.policy).meanings
    both: list[AnsweredQuery] = []
    left_out: list[tuple[str, int]] = []
    for asked in stored.queries:
        old, new = (stored.answers.get((v.digest, asked.query.digest)) for v in (before, now))
        if old is not None and new is not None:
            both.append(AnsweredQuery(asked=asked, before=old, now=new, meanings=meanings))
            continue
        left_out += [(asked.name, v.number) for v, a in ((before, old), (now, new)) if a is None]
    if not both:
        raise AnswersMissing(
            f"Versions {before.number} and {now.number} have not answered the same test images, "
            "so they cannot be compared image by image. Order an evaluation of each version that "
            "has a parent, by the same suites.",
            missing=[{"suite": name, "version": number} for name, number in left_out],
        )
    return stored, both, left_out
