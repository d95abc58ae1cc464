"""The error that a line's verdicts spend, version by version."""

import pytest

from core.datasets.freeze import freeze, read_manifest
from core.datasets.manifests import Part, Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetVersion
from core.datasets.thumbnail_rows import PlacedGroups
from core.datasets.version_rows import Suites
from core.evaluation.report import BudgetUse, Report
from core.gate.levels import LOOK_SHARES
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus
from core.registry.configure import configure_model
from core.registry.versions import Model, Weights
from core.upkeep.delete import delete_model
from core.values import Digest
from tests.support.api.seeds import a_root, some_weights
from tests.support.erasures import erase
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import (
    ANTS,
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    judged_by,
    report,
    update,
)
from tests.support.factories import NOW, a_row, by_hash, pixels_on
from tests.support.scene import Scene

FISH = ("cod", "eel")

KNOWN = {1: SUITES, 2: SUITES + CATS, 3: SUITES + CATS + OWLS, 4: SUITES + CATS + OWLS + ANTS}

LIMITS = {"line_error": 0.2, "line_updates": 10, "holdout_tolerance": 0.5, "settled_tolerance": 0.5}
LIMITS |= {"minimum_count": 30}  # more than a holdout has

SHARES = {k: LOOK_SHARES[0] * 0.2 * 10 / ((9 + k) * (10 + k)) for k in (1, 2, 3)}


@pytest.fixture
def model(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model with a suite, and a budget of which ten verdicts spend half."""
    model = a_judged_model(scene)
    judged_by(scene, model, **LIMITS)
    knowing_each(scene, model, monkeypatch, KNOWN)
    return model


def use(scene: Scene, model: Model, version: int, name: str = "easy") -> BudgetUse:
    (found,) = [use for use in report(scene, model, version).budgets if use.name == name]
    return found


def levels(found: Report, name: str) -> set[float | None]:
    return {ruling.level for ruling in found.measures if ruling.name == name}


def test_each_promotion_spends_for_its_suites_and_holdouts_and_scoring_again_nothing(
    scene: Scene, model: Model
) -> None:
    update(scene, model, *CATS)
    before = report(scene, model, 2)
    scene.order(model, EvaluateOrder(version=2))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert report(scene, model, 2).budgets == before.budgets
    update(scene, model, *OWLS)
    assert scene.live(model) == 3
    first, second = use(scene, model, 2), use(scene, model, 3)
    assert (first.verdicts, second.verdicts) == (1, 2)
    assert (first.level, second.level) == (pytest.approx(SHARES[1]), pytest.approx(SHARES[2]))
    assert (first.spent, second.spent) == (pytest.approx(0.2 / 11), pytest.approx(0.2 / 6))
    assert levels(report(scene, model, 3), "easy") == {second.level}
    update(scene, model, *ANTS)
    found = report(scene, model, 4)
    used = {use.name: use.verdicts for use in found.budgets}
    assert used == {"easy": 3, "version 2": 2, "version 3": 1, "2 updates": 2}
    assert levels(found, "version 4") == {0.05}  # the gain, which has an error of its own


def test_a_version_that_fails_spends_too(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, KNOWN | {2: CATS})
    update(scene, model, *CATS)
    update(scene, model, *OWLS)
    assert scene.version(model, 2).verdict is Verdict.FAILED
    assert scene.version(model, 3).parent == 1
    assert use(scene, model, 3).verdicts == 2


def test_mostly_new_images_start_a_budget_of_their_own_and_another_name_does_not(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing_each(scene, model, monkeypatch, KNOWN | {5: KNOWN[4] + FISH})
    new = scene.frozen(*SUITES, each=30, offset=700)
    more = grown(scene, new)
    for classes in (CATS, OWLS):
        update(scene, model, *classes)
    with scene.platform.transactions(read_only=True) as work:
        images = work[Datasets].version(work[Datasets].page(1, None)[0].id, 1)  # those of "easy"
    scene.suite(model, images, name="again")
    scene.suite(model, new, name="renewed")
    configure_model(
        scene.platform, model.name, suites=["again", "renewed"], policy=None, reason="a test"
    )
    update(scene, model, *ANTS)
    assert use(scene, model, 4, "again").verdicts == 3
    assert use(scene, model, 4, "renewed").verdicts == 1
    scene.suite(model, more, name="grown")
    update(scene, model, *FISH)
    assert use(scene, model, 5, "grown").verdicts == 2


def grown(scene: Scene, before: DatasetVersion) -> DatasetVersion:
    """A dataset version with a third more images."""
    with scene.platform.transactions() as work:
        dataset = work[Datasets].get(before.dataset)
        more = pixels_on(Side.HOLDOUT, 940)[900:]
        rows = [a_row(dataset, one, SUITES[n % 2]) for n, one in enumerate(more)]
        work[Datasets].add_images(dataset.id, rows)
        work[PlacedGroups].add(by_hash(more))
        version = freeze(work, scene.platform.artifacts, dataset, NOW)
        work.commit()
    return version


def another(
    scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch, root: Weights | None = None
) -> Model:
    """Another model that is judged by the suite "easy"; by default its root is the same."""
    other = a_root(scene.platform, name, weights=root)
    judged_by(scene, other, **LIMITS)
    configure_model(scene.platform, other.name, suites=["easy"], policy=None)
    knowing_each(scene, other, monkeypatch, KNOWN)
    return other


def test_tries_of_other_models_on_the_same_weights_count_also_when_these_are_deleted(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the luckiest of three tries elsewhere taught here pays for all three."""
    other = another(scene, "other", monkeypatch)
    for classes in (OWLS, ANTS, CATS):
        update(scene, other, *classes, parent=1, auto_promote=False)
    assert use(scene, other, 4).verdicts == 3
    delete_model(scene.platform, model=other.name, reason="a test")
    knowing_each(scene, model, monkeypatch, KNOWN)
    update(scene, model, *CATS)
    assert use(scene, model, 2).verdicts == 4
    update(scene, model, *OWLS)
    child = use(scene, model, 3)
    assert (child.verdicts, child.luck) == (5, 4.0)


def test_unrelated_models_do_not_spend(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(scene, model, *CATS)
    other = another(scene, "other", monkeypatch, some_weights(scene.platform, 7))
    update(scene, other, *OWLS)
    assert use(scene, other, 2).verdicts == 1


def test_a_model_made_of_a_version_of_another_one_shares_its_tries(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for classes in (CATS, OWLS):
        update(scene, model, *classes)
    weights = Weights.from_bytes(scene.platform.artifacts.get(scene.version(model, 2).digest))
    other = another(scene, "exported", monkeypatch, weights)
    update(scene, other, *ANTS)
    assert use(scene, other, 2).verdicts == 2  # beside version 3 there
    knowing_each(scene, model, monkeypatch, KNOWN)
    update(scene, model, *FISH)
    assert use(scene, model, 4).verdicts == 4


def test_holdouts_of_the_line_that_is_live_spend(scene: Scene, model: Model) -> None:
    for classes in (CATS, OWLS):
        update(scene, model, *classes)
    update(scene, model, *ANTS, parent=1)
    used = {use.name: use.verdicts for use in report(scene, model, 4).budgets}
    pool = "2 updates of the live version"
    assert used == {"easy": 3, "version 2": 2, "version 3": 1, pool: 2, "version 4": 1}


def test_a_child_pays_for_the_tries_of_its_parent(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {1: SUITES, 2: CATS, 3: SUITES + OWLS, 4: SUITES + OWLS + ANTS}
    knowing_each(scene, model, monkeypatch, known)
    for classes in (CATS, OWLS, ANTS):
        update(scene, model, *classes)
    assert (scene.version(model, 3).parent, scene.version(model, 4).parent) == (1, 3)
    passed, child = use(scene, model, 3), use(scene, model, 4)
    assert (passed.level, passed.luck) == (pytest.approx(SHARES[2]), 1.0)
    assert (child.level, child.luck) == (pytest.approx(SHARES[3] / 2), 2.0)
    assert child.spent == pytest.approx(0.2 * 3 / 13)


def test_an_erasure_does_not_start_the_count_anew(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of the suite nor that of a holdout, whose version is trained again."""
    knowing_each(scene, model, monkeypatch, KNOWN | {4: KNOWN[2], 5: KNOWN[3]})
    for offset, classes in ((1000, CATS), (1100, OWLS)):
        scene.learn(model, scene.frozen(*classes, each=15, offset=offset, forms=MANY))
    with scene.platform.transactions(read_only=True) as work:
        suite = work[Suites].get("easy")
    asked = read_manifest(scene.platform.artifacts, suite.manifest).entries
    tested = next(entry.pixels for entry in asked if entry.part is Part.TEST)
    erase(scene, tested, taught_to(scene, model, 2))
    assert [scene.run().status for _ in (2, 3)] == [JobStatus.SUCCEEDED] * 2
    again = [version.replaces for version in scene.versions(model)]
    assert again == [None, None, None, 2, 3]
    found = {use.name: (use.verdicts, use.luck) for use in report(scene, model, 5).budgets}
    assert (found["easy"], found["version 4"]) == ((4, 1.0), (2, 1.0))


MANY = 10_000  # images of which no two have the same bytes


def taught_to(scene: Scene, model: Model, version: int) -> Digest:
    """An image that a version has learned."""
    data = scene.version(model, version).data
    assert data is not None
    with scene.platform.transactions(read_only=True) as work:
        manifest = work[Datasets].version(data.dataset, data.version).manifest
    return read_manifest(scene.platform.artifacts, manifest).on(Side.TRAIN)[0].pixels
