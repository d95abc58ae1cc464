"""An unlabelled suite with chosen answers, for tests of what its labels decide."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from core.datasets.manifests import Split
from core.datasets.rules import SuiteKind
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.exams import ScoredSuite
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery
from core.evaluation.unlabelled import in_order
from core.values import Digest, SuiteId
from tests.support.evaluation.evaluations import entries, learned, suite
from tests.support.scene import answered_where

PETS = ("cat", "dog")
PHOTOS = in_order(entries("photos", [("",)] * 200), Split(), SuiteId("suite_photos"))
TRUTH = {entry.pixels: PETS[n % 2] for n, entry in enumerate(PHOTOS)}
ORDER = tuple(TRUTH)  # in which the images are labelled

Wrong = Mapping[int, Collection[int]]  # by the number of a version: the places that it has wrong


def photos(labels: Mapping[Digest, str] | None = None) -> ScoredSuite:
    """A suite of 200 test images of cats and dogs, with some labels."""
    made = suite("photos", entries("photos", [("",)] * 200), SuiteKind.UNLABELLED)
    return replace(made, suite=replace(made.suite, classes=PETS), labels=labels or {})


def labels_of(places: Collection[int]) -> dict[Digest, str]:
    """The right labels of the images at some places of the order."""
    return {ORDER[place]: TRUTH[ORDER[place]] for place in places}


def answers_to(plan: EvaluationPlan, wrong: Wrong) -> dict[tuple[Digest, Digest], Answers]:
    """All answers: right ones about the photos but where a version is wrong, and as `learned`."""
    unlabelled = {q.digest for one in plan.unlabelled for q in (one.own, one.union)}
    return {
        (who.digest, query.digest): _pets(query, wrong.get(who.number, ()))
        if isinstance(query, ClassQuery) and query.digest in unlabelled
        else answered_where(lambda n, w=who, q=query: learned(w, q, n), query)
        for who, queries in plan.questions
        for query in queries
    }


def _pets(query: ClassQuery, wrong: Collection[int]) -> ClassAnswers:
    predicted = []
    for entry in query.entries:
        truth = PETS.index(TRUTH[entry.pixels])
        predicted.append(1 - truth if ORDER.index(entry.pixels) in wrong else truth)
    return ClassAnswers(predicted=tuple(predicted))
