"""Facts and their events are one transaction."""

from collections.abc import Sequence
from unittest.mock import Mock

import pytest

from core.datasets.freeze import freeze_version
from core.errors import FieldInvalid, LeaseLost
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.operations.maintenance import end_cancelled_jobs
from core.outbox.rules import Delivery, Webhook
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION, MoveKind
from core.registry.promote import point_alias
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.upkeep.delete import delete_alias
from tests.support.api.seeds import a_candidate
from tests.support.claims import claim
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import CATS, SUITES, a_judged_model, update
from tests.support.factories import NOW
from tests.support.scene import Scene
from tests.support.webhooks import deliveries_of, subscribed


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model with a candidate."""
    made = scene.model()
    a_candidate(scene.platform, made)
    return made


def told(scene: Scene, webhook: Webhook) -> Sequence[Delivery]:
    """The deliveries of a webhook, oldest first."""
    return deliveries_of(scene.platform.transactions, webhook)


def test_an_update_that_passes_tells_verdict_move_and_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_judged_model(scene)
    knowing_each(scene, model, monkeypatch, {1: SUITES, 2: (*SUITES, *CATS)})
    webhook = subscribed(scene.platform.transactions, models=(model.id,))
    job = update(scene, model, *CATS)
    judged, moved, end = told(scene, webhook)
    version = f"/v1/models/{model.id}/versions/2"
    assert judged.payload["type"] == "version.judged"
    assert judged.payload["data"] == {
        "model": model.id,
        "version": 2,
        "verdict": "passed",
        "job": job.id,
        "links": {
            "version": version,
            "forgetting": f"{version}/forgetting?job={job.id}",
            "job": f"/v1/jobs/{job.id}",
        },
    }
    assert moved.payload["type"] == "alias.moved"
    assert moved.payload["data"] == {
        "model": model.id,
        "alias": PRODUCTION,
        "revision": 2,
        "kind": "promoted",
        "from_version": 1,
        "to_version": 2,
        "links": {"alias": f"/v1/models/{model.id}/aliases/{PRODUCTION}", "version": version},
    }
    assert end.payload["type"] == "job.succeeded"
    assert end.payload["data"] == {
        "job": job.id,
        "job_type": "update",
        "model": model.id,
        "version": 2,
        "links": {"job": f"/v1/jobs/{job.id}", "model": f"/v1/models/{model.id}"},
    }


def test_a_job_that_fails_tells_so_but_not_why(scene: Scene) -> None:
    scene.script.training = Mock(side_effect=FieldInvalid("a sentence with a user's text"))
    model, data = scene.model(), scene.frozen("cat", "dog")
    webhook = subscribed(scene.platform.transactions)
    job = scene.update(model, data)
    scene.run()
    (delivery,) = told(scene, webhook)
    assert (delivery.type, delivery.object) == ("job.failed", job.id)
    assert "sentence" not in str(delivery.payload)


def test_a_frozen_dataset_tells_its_version(scene: Scene) -> None:
    webhook = subscribed(scene.platform.transactions)
    first = scene.frozen("cat", "dog")
    second = freeze_version(scene.platform, first.dataset)
    path = f"/v1/datasets/{first.dataset}"
    assert [one.payload["data"] for one in told(scene, webhook)] == [
        {
            "dataset": first.dataset,
            "dataset_version": version.number,
            "links": {"dataset": path, "dataset_version": f"{path}/versions/{version.number}"},
        }
        for version in (first, second)
    ]


def test_a_write_that_is_refused_tells_nothing(scene: Scene) -> None:
    webhook = subscribed(scene.platform.transactions)
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    before = told(scene, webhook)
    with scene.platform.transactions() as work:
        claimed = work[Jobs].claim("w", 60, 3)
        with pytest.raises(LeaseLost):
            work[Jobs].finish(claimed.fail({"code": "x"}, NOW), claimed.fence + 1)
        work.commit()
    assert told(scene, webhook) == before
    assert scene.job(job).status is JobStatus.RUNNING


def test_moves_of_an_alias_and_its_deletion_are_about_one_object(
    scene: Scene, model: Model
) -> None:
    webhook = subscribed(scene.platform.transactions)
    for number, kind in ((2, MoveKind.PROMOTED), (1, MoveKind.ROLLED_BACK)):
        with scene.platform.transactions() as work:
            point_alias(
                work,
                work[Aliases].get(model.id, PRODUCTION),
                name=PRODUCTION,
                to=work[Versions].get(model.id, number),
                kind=kind,
                reason="a secret reason",
                actor="somebody",
                now=NOW,
            )
            work.commit()
    delete_alias(
        scene.platform, model=model.name, alias=PRODUCTION, expected_revision=3, reason="a test"
    )
    moves = told(scene, webhook)
    assert [one.type for one in moves] == ["alias.moved", "alias.moved", "alias.deleted"]
    kinds = [(one.payload["data"]["kind"], one.payload["data"]["revision"]) for one in moves]
    assert kinds == [("promoted", 2), ("rolled_back", 3), ("deleted", 4)]
    assert {one.object for one in moves} == {f"{model.id}@{PRODUCTION}"}
    assert "secret" not in str([one.payload for one in moves])
    assert moves[-1].payload["data"] == {
        "model": model.id,
        "alias": PRODUCTION,
        "revision": 4,
        "kind": "deleted",
        "from_version": 1,
        "to_version": None,
        "links": {"alias": f"/v1/models/{model.id}/aliases/{PRODUCTION}"},
    }


def test_a_job_that_is_cancelled_or_lost_too_often_tells_so_without_a_worker(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    webhook = subscribed(scene.platform.transactions)
    queued = scene.update(model, data)
    cancel_job(scene.platform, queued.id)
    left = scene.update(model, data)
    claim(scene.platform.transactions, "dead", lease_s=-1.0)
    cancel_job(scene.platform, left.id)
    assert [one.object for one in told(scene, webhook)] == [queued.id]
    end_cancelled_jobs(scene.platform)
    lost = scene.update(model, data)
    for _ in range(4):
        claim(scene.platform.transactions, "dead", lease_s=-1.0)
    assert [(one.type, one.object) for one in told(scene, webhook)] == [
        ("job.cancelled", queued.id),
        ("job.cancelled", left.id),
        ("job.failed", lost.id),
    ]
