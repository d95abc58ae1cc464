"""Helpers of tests of verdicts: versions that know some classes, and what was found about them."""

from typing import Any

from core.evaluation.report import Report
from core.gate.kinds import ClassList
from core.gate.measures import Measure
from core.gate.policies import create_policy
from core.jobs.rules import Job
from core.registry.aliases import Alias
from core.registry.configure import configure_model
from core.registry.promote import promote, roll_back
from core.registry.read import read_report
from core.registry.versions import Model
from tests.support.factories import TESTER, a_policy
from tests.support.scene import Scene

SUITES, CATS, OWLS, ANTS = ("hat", "bag"), ("cat", "dog"), ("owl", "elk"), ("ant", "bee")


def judged_by(scene: Scene, model: Model, **changes: Any) -> str:
    """The name of a lenient policy that the model is judged by from now on."""
    given: dict[str, Any] = {"minimum_count": 1, "alpha": 0.2, "class_tolerance": None}
    given |= {"parent_tolerance": 0.4, "root_tolerance": 0.4}  # half is right by one answer to all
    given |= {"union_tolerance": changes.get("parent_tolerance", 0.4)}
    given |= {"swallow_tolerance": changes.get("settled_tolerance", 0.1)}
    made = create_policy(scene.platform, a_policy(reason="a test", **given | changes))
    configure_model(scene.platform, model.name, suites=None, policy=made.name, reason="a test")
    return made.name


def a_judged_model(scene: Scene) -> Model:
    """A model with the suite "easy" and a lenient policy that judges few images."""
    made = scene.model()
    judged_by(scene, made)
    scene.suite(made, scene.frozen(*SUITES, each=30, offset=500), name="easy")
    return made


def update(scene: Scene, model: Model, *classes: str, **changes: Any) -> Job:
    """Teach some classes, two at least, and see it through."""
    offset = 40 * len(scene.versions(model))
    return scene.learn(model, scene.frozen(*classes, each=15, offset=offset), **changes)


def go_live(scene: Scene, model: Model, version: int, **changes: Any) -> Alias:
    given: dict[str, Any] = {
        "alias": "production",
        "expected_revision": None,
        "reason": "",
        "override": False,
    }
    return promote(scene.platform, TESTER, model=model.name, version=version, **given | changes)


def go_back(scene: Scene, model: Model, **changes: Any) -> int:
    """Roll back; the version that is live then."""
    given: dict[str, Any] = {
        "alias": "production",
        "to": None,
        "expected_revision": None,
        "reason": "bad",
    }
    return roll_back(scene.platform, TESTER, model=model.name, **given | changes).version


def report(scene: Scene, model: Model, version: int) -> Report:
    found = read_report(scene.platform.artifacts, scene.version(model, version))
    return Report.from_json(found)


def against(report: Report, baseline: str) -> list[Measure]:
    """The measures against one baseline, over the classes of the time."""
    found = [ruling for ruling in report.measures if ruling.baseline == baseline]
    return [ruling for ruling in found if ruling.asked is ClassList.OWN]
