"""Small examinations with chosen answers, for tests of the report and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from core.datasets.manifests import Manifest, ManifestEntry, Part
from core.datasets.rules import SuiteKind
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.exams import ScoredSuite
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge import build_report
from core.evaluation.plan import EvaluationPlan, LiveLineage, plan_queries
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.report import Report
from core.gate.levels import Spending
from core.gate.rules import GatePolicy
from core.recipes.rules import Recipe, distinct
from core.registry.versions import Version, VersionStatus
from core.rejection.rules import (
    Calibration,
    ErrorRate,
    ListCalibration,
    SourceCalibration,
    Statistic,
    Threshold,
)
from core.values import DatasetId, Digest, ModelId, PolicyId, SuiteId, sha256
from tests.support.factories import (
    a_job,
    a_model,
    a_policy,
    a_suite,
    a_version,
    an_entry,
    digest,
    part_of,
)
from tests.support.scene import answered_where


def policy(**changes: Any) -> GatePolicy:
    """The default policy, which judges few images, with changes."""
    return a_policy(**{"id": PolicyId("gate_1"), "name": "default", "minimum_count": 21, **changes})


MODEL = a_model(policy(), id=ModelId("model_1"), name="demo")

ROOT = a_version(a_job(MODEL), status=VersionStatus.PROMOTED)


def taught(before: Version, number: int, teaches: Sequence[str]) -> Version:
    """The version that an update of `before` made."""
    return replace(
        ROOT,
        number=number,
        status=VersionStatus.CANDIDATE,
        digest=digest(f"version {number}"),
        parent=before.number,
        recipe=Recipe(),
        dataset=DatasetId("ds_1"),
        dataset_version=1,
        update_classes=tuple(teaches),
        classes=distinct(before.classes + tuple(teaches)),
    )


def entries(
    name: str, texts: Sequence[tuple[str, ...]], part: Part = Part.TEST
) -> tuple[ManifestEntry, ...]:
    """One image of the wanted part for each tuple of texts."""
    numbered = (sha256(f"{name} {index}".encode()) for index in count())
    digests = (digest for digest in numbered if part_of(digest) is part)
    return tuple(
        an_entry(pixels=pixels, artifact=sha256(pixels.encode()), texts=text)
        for pixels, text in zip(digests, texts, strict=False)
    )


def suite(name: str, images: Sequence[ManifestEntry], kind: SuiteKind) -> ScoredSuite:
    manifest = Manifest(kind=kind.dataset_kind, entries=tuple(images))
    return ScoredSuite(
        suite=a_suite(
            id=SuiteId(f"suite_{name}"),
            name=name,
            kind=kind,
            classes=manifest.classes,
            images=len(images),
        ),
        manifest=manifest,
    )


def answered(
    plan: EvaluationPlan, right: Callable[[Version, EvalQuery, int], bool]
) -> dict[tuple[Digest, Digest], Answers]:
    """Answers that are right where `right(version, question, index)` says so."""
    return {
        (who.digest, question.digest): answered_where(partial(right, who, question), question)
        for who, questions in plan.questions
        for question in questions
    }


FIRST = taught(ROOT, 2, ("bag", "shirt"))

SECOND = taught(FIRST, 3, ("boot", "coat"))


THIRD = taught(SECOND, 4, ("hat",))

EARLIER = [
    HeldOutUpdate(version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 10)),
    HeldOutUpdate(version=SECOND, holdout=entries("second", [("boot",), ("coat",)] * 10)),
]


def second_update(**changes: Any) -> EvaluationPlan:
    """The examination of version 3: the line has learned bag and shirt, now boot and coat."""
    emoji = [("cat",), ("dog",), ("Bag",), ("sun",)] * 10
    captions = [("a red square", "a square"), ("a blue ring",), ("a dot", "one dot", "a point")] * 5
    values: dict[str, Any] = {
        "model": MODEL,
        "policy": policy(),
        "candidate": EARLIER[1],
        "parent": FIRST,
        "root": ROOT,
        "earlier": EARLIER[:1],
        "suites": [
            suite("emoji", entries("emoji", emoji), SuiteKind.ZERO_SHOT),
            suite("shapes", entries("shapes", captions), SuiteKind.RETRIEVAL),
        ],
    }
    return plan_queries(**{**values, **changes})


def third_update(**changes: Any) -> EvaluationPlan:
    """The examination of version 4, which has learned hat after these."""
    held_out = HeldOutUpdate(version=THIRD, holdout=entries("third", [("hat",)] * 10))
    given: dict[str, Any] = {"candidate": held_out, "parent": SECOND, "earlier": EARLIER}
    return second_update(**{**given, **changes})


def live_line() -> LiveLineage:
    """Versions 9 and 10, which have learned what the candidate has not; version 10 is live."""
    ninth = taught(ROOT, 9, ("hat", "sock"))
    tenth = taught(ninth, 10, ("cup", "jar"))
    return LiveLineage(
        version=tenth,
        lineage=frozenset({1, 9, 10}),
        updates=(
            HeldOutUpdate(version=ninth, holdout=entries("ninth", [("hat",), ("sock",)] * 10)),
            HeldOutUpdate(version=tenth, holdout=entries("tenth", [("cup",), ("jar",)] * 5)),
        ),
    )


def with_duplicates(images: Sequence[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Images of which every third is a near-duplicate of the one before."""
    return tuple(
        replace(one, near_duplicate_of=images[n - 1].pixels) if n % 3 == 2 else one
        for n, one in enumerate(images)
    )


def captioned(before: Version, number: int, images: int, *again: HeldOutUpdate) -> HeldOutUpdate:
    """An update of captions; some images were taught again, with another caption or copied."""
    texts = [(f"a dog {n}", f"dog {n}") if n % 3 else (f"a cat {n % 5}",) for n in range(images)]
    twice = [
        image
        for n, one in enumerate(again)
        for image in (
            replace(one.captions[-1], texts=("taught again", *one.captions[-1].texts)),
            replace(
                one.captions[-2],
                pixels=digest(f"copied {number} {n}"),
                near_duplicate_of=one.captions[-2].group,
            ),
        )
    ]
    own = with_duplicates(entries(f"captioned {number}", texts))
    return HeldOutUpdate(version=taught(before, number, ()), holdout=(), captions=(*twice, *own))


def line_of_captions(
    *sizes: int, live: tuple[int, ...] = (), live_at: int = 0, **changes: Any
) -> EvaluationPlan:
    """A line that was taught captions alone, as was the live version beside it, or in it."""

    def line(first: int, counts: Sequence[int]) -> list[HeldOutUpdate]:
        made: list[HeldOutUpdate] = []
        for n, images in enumerate(counts):
            made.append(captioned(made[-1].version if made else ROOT, first + n, images, *made))
        return made

    *earlier, own = line(2, sizes)
    if beside := line(9, live):
        changes["live"] = LiveLineage(
            version=beside[-1].version,
            lineage=frozenset({1, *(one.version.number for one in beside)}),
            updates=tuple(beside),
        )
    if live_at:
        (version,) = (one.version for one in earlier if one.version.number == live_at)
        known = frozenset(range(1, live_at + 1))
        changes["live"] = LiveLineage(version=version, lineage=known, updates=())
    return second_update(candidate=own, parent=earlier[-1].version, earlier=earlier, **changes)


def some_thresholds() -> Calibration:
    """Thresholds of a source for lists of 1,200 classes."""
    rates = [ErrorRate(rate=n / 8, lower=n / 20, upper=n / 4, images=9) for n in (1, 3)]
    threshold = Threshold(
        rate=0.05, threshold=1, false_rejection=rates[0], false_acceptance=rates[1]
    )
    lists = ListCalibration(
        size=1200, statistic=Statistic.MARGIN, auroc=0.875, thresholds=(threshold,)
    )
    source = SourceCalibration(name="sky", classes=("a", "b"), prompt="{name}", lists=(lists,))
    return Calibration(sources=(source,))


def report_of(
    plan: EvaluationPlan,
    right: Callable[[Version, EvalQuery, int], bool],
    previous: Report | None = None,
    verdicts: Mapping[Digest, int] | None = None,
) -> Report:
    """The report when the versions answer as `right` says."""
    return build_report(
        plan,
        answered(plan, right),
        previous=previous,
        spending={query: Spending(verdict=n) for query, n in (verdicts or {}).items()},
        judged_before=2,
        near_duplicates=1,
    )


def answering(plan: EvaluationPlan, say: Callable[[ManifestEntry, int], str | None]) -> Report:
    """The report when the candidate says a class, where the list has it; else it is right."""
    answers = answered(plan, learned)
    for who, questions in plan.questions:
        for question in questions:
            found = answers[who.digest, question.digest]
            if who is plan.candidate and isinstance(question, ClassQuery):
                assert isinstance(found, ClassAnswers)
                names = [say(entry, n) for n, entry in enumerate(question.entries)]
                known = {name: n for n, name in enumerate(question.classes)}
                said = zip(names, found.predicted, strict=True)
                predicted = tuple(known.get(name or "", others) for name, others in said)
                answers[who.digest, question.digest] = ClassAnswers(predicted=predicted)
    return build_report(
        plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0
    )


def right(who: Version, question: EvalQuery, index: int) -> bool:
    """Each version is right about everything."""
    return True


def by_turns(who: Version, question: EvalQuery, index: int) -> bool:
    """The candidate is wrong about every fourth image, the others about the one after it."""
    return index % 4 != (0 if who is SECOND else 1)


def learned(who: Version, question: EvalQuery, index: int) -> bool:
    """Each version is right about what the line has learned by then, and on every suite."""
    if isinstance(question, RetrievalQuery):
        return True
    taught_classes = {"bag": 2, "shirt": 2, "boot": 3, "coat": 3, "hat": 4}
    return who.number >= taught_classes.get(question.entries[index].class_name, 1)


def forgets_cats(who: Version, question: EvalQuery, index: int) -> bool:
    cat = isinstance(question, ClassQuery) and question.entries[index].class_name == "cat"
    return learned(who, question, index) and not (who is SECOND and cat)
