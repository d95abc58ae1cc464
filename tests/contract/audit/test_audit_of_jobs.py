"""Changes that a job makes by itself are recorded as the job's."""

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.gate.rows import Policies
from core.jobs.orders import ImportOrder
from core.registry.alias_rows import Aliases
from core.registry.rows import Models
from tests.support.evaluation.judged import CATS, SUITES, a_judged_model, knowing, update
from tests.support.factories import a_model
from tests.support.scene import Scene


def test_a_promotion_by_a_job_is_recorded_with_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_judged_model(scene)
    knowing(scene, model, monkeypatch, {1: SUITES, 2: SUITES + CATS})
    job = update(scene, model, *CATS)
    with scene.platform.transactions(read_only=True) as work:
        (event,) = work[AuditTrail].page(9, None, AuditFilter(action=Action.ALIAS_MOVED))
    change = event.change
    assert (change.actor, change.key, change.request_id) == (f"job {job.id}", None, None)
    assert change.subject == f"models/{model.name}/aliases/production"
    assert (change.before, change.after) == ({"version": 1}, {"version": 2, "override": False})
    assert change.reason == "passed the gate"


def test_the_alias_of_an_import_is_recorded_with_its_job(scene: Scene) -> None:
    with scene.platform.transactions() as work:
        model = a_model(work[Policies].get("default"))
        work[Models].add(model)
        work.commit()
    job = scene.order(model, ImportOrder(base="bundled"))
    scene.run()
    with scene.platform.transactions(read_only=True) as work:
        (event,) = work[AuditTrail].page(9, None, AuditFilter(action=Action.ALIAS_CREATED))
        (move,) = work[Aliases].history(model.id, "production")
    assert event.change.actor == move.actor == f"job {job.id}"
