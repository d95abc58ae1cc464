"""Made-up images, answers and reports, each a function of its name or number alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

from core.domain.datasets.manifest import ManifestEntry
from core.domain.evaluation.query import ClassAnswers, ClassQuery
from core.domain.evaluation.report import Report
from core.domain.evaluation.report_sections import Scores, Transfer
from core.domain.gate.measure import Measure, MeasureKind
from core.domain.gate.policy import GatePolicy, judge
from core.domain.values import Digest, PolicyId, sha256

BEGAN = datetime(2026, 4, 1, tzinfo=UTC)
LINE = 20  # updates of a line
RIGHT = 0.85  # share of right answers, of every version


def digest_of(name: str) -> Digest:
    """Return a digest that depends on a name alone."""
    return sha256(name.encode())


def entries_of(name: str, count: int, classes: Sequence[str]) -> tuple[ManifestEntry, ...]:
    """Return images of classes in turn, sorted as a manifest is."""
    entries = [
        ManifestEntry(
            pixels=digest_of(f"{name} {number}"),
            artifact=digest_of(f"file of {name} {number}"),
            texts=(classes[number % len(classes)],),
        )
        for number in range(count)
    ]
    return tuple(sorted(entries, key=lambda entry: entry.pixels))


def answers_of(query: ClassQuery, seed: int) -> ClassAnswers:
    """Return answers of which most are right."""
    draw = Random(seed)
    names = {name: index for index, name in enumerate(query.classes)}
    return ClassAnswers(
        predicted=tuple(
            names[entry.class_name] if draw.random() < RIGHT else draw.randrange(len(names))
            for entry in query.entries
        )
    )


def report_of(number: int, parent: int) -> Report:
    """Return the report on a version, whose numbers differ a little from version to version."""
    policy = GatePolicy(id=PolicyId("gate_default"), name="default", created_at=BEGAN)
    draw = Random(number)
    measures = [
        _measure(MeasureKind.ZERO_SHOT, "kept", "parent", parent, lost=draw.randrange(10, 40)),
        _measure(MeasureKind.ZERO_SHOT, "kept", "root", 1, lost=draw.randrange(10, 60)),
        _measure(MeasureKind.GAIN, f"version {number}", "parent", parent, lost=0, gained=600),
    ]
    judgement = judge(measures, policy)
    scores = {"ut_micro": 0.9, "ut_macro": 0.9, "zero_shot": 0.85, "average": 0.87}
    roles = (("candidate", number), ("parent", parent), ("root", 1))
    return Report(
        model="demo",
        version=number,
        digest=digest_of(f"version {number}"),
        parent=parent,
        parent_digest=digest_of(f"version {parent}"),
        root=1,
        root_digest=digest_of("version 1"),
        recipe={},
        dataset="products",
        dataset_version=1,
        update_classes=(f"class {number}", "cup"),
        classes=(f"class {number}", "cup"),
        prompt="a photo of {name}.",
        policy={name: value for name, value in vars(policy).items() if name != "created_at"},
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        rulings=judgement.rulings,
        scores=tuple(Scores(role=role, version=one, **scores) for role, one in roles),
        retention=1.0,
        zero_shot_change=0.0,
        transfer=Transfer(),
        tasks=(),
        matrix=(),
        changes=(),
        lists=(),
        recalls=(),
        judged_before=number,
        near_duplicates=0,
        images={"kept": 2000},
    )


def _measure(
    kind: MeasureKind, name: str, baseline: str, version: int, *, lost: int, gained: int = 25
) -> Measure:
    still = 2000 - lost - gained
    return Measure.of(
        kind,
        name=name,
        baseline=baseline,
        baseline_version=version,
        tolerance=0.03,
        images=2000,
        now=[True] * gained + [False] * lost + [True] * still,
        before=[False] * gained + [True] * lost + [True] * still,
        alpha=0.005,
    )
