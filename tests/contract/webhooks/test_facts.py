"""Facts and their events are one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.domain.jobs.order import ImportOrder
from core.domain.registry.alias import PRODUCTION
from core.domain.webhooks.delivery import Delivery
from core.errors import FieldInvalid
from core.ports import Monitor
from core.use_cases.datasets.freeze import freeze_version
from core.use_cases.jobs.queue import cancel_job
from core.use_cases.operations.maintenance import end_cancelled_jobs
from core.use_cases.registry.roll_back import roll_back
from tests.support.factories import TESTER
from tests.support.scene import Scene
from tests.support.webhooks import deliveries_of, subscribed


def told(scene: Scene, webhook: Any) -> list[Delivery]:
    found: Sequence[Delivery] = deliveries_of(scene.platform.transactions, webhook)
    return list(found)


def test_an_update_that_passes_tells_verdict_move_and_end(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog", each=40)
    scene.suite(model, scene.frozen("cat", "dog", each=300, offset=100))
    webhook = subscribed(scene.platform.transactions)
    job = scene.update(model, data)
    ended = scene.run()
    assert ended.result is not None
    verdict = ended.result["verdict"]
    assert verdict == "passed", ended
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
            "forgetting": f"{version}/forgetting",
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
    def fail(_: Monitor) -> None:
        raise FieldInvalid("a sentence with a user's text")

    scene.script.training = fail
    webhook = subscribed(scene.platform.transactions)
    scene.order(scene.model("other"), ImportOrder(base="bundled"))
    model = scene.model()
    with scene.platform.transactions() as work:  # the other model's root is there already
        work.commit()
    scene.run()
    kinds = [one.type for one in told(scene, webhook)]
    assert kinds[-1] == "job.failed"
    assert "sentence" not in str([one.payload for one in told(scene, webhook)])
    assert model


def test_a_cancelled_job_tells_so_queued_or_left_by_its_worker(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    webhook = subscribed(scene.platform.transactions)
    queued = scene.update(model, data)
    cancel_job(scene.platform, queued.id)
    left = scene.update(model, data)
    with scene.platform.transactions() as work:
        assert work.jobs.claim("dead", -1.0, 3) is not None
        work.commit()
    cancel_job(scene.platform, left.id)
    assert [one.object for one in told(scene, webhook)] == [queued.id]
    end_cancelled_jobs(scene.platform)
    assert [(one.type, one.object) for one in told(scene, webhook)] == [
        ("job.cancelled", queued.id),
        ("job.cancelled", left.id),
    ]


def test_a_job_that_is_lost_too_often_tells_that_it_failed(scene: Scene) -> None:
    webhook = subscribed(scene.platform.transactions)
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    before = len(told(scene, webhook))
    for _ in range(3):
        with scene.platform.transactions() as work:
            work.jobs.claim("dead", -1.0, 2)
            work.commit()
    assert [(one.type, one.object) for one in told(scene, webhook)[before:]] == [
        ("job.failed", job.id)
    ]


def test_a_rollback_tells_the_move_after_the_one_before(scene: Scene) -> None:
    webhook = subscribed(scene.platform.transactions)
    model, data = scene.model(), scene.frozen("cat", "dog", each=40)
    scene.suite(model, scene.frozen("cat", "dog", each=300, offset=100))
    scene.update(model, data)
    scene.run()
    roll_back(
        scene.platform,
        TESTER,
        model=model.name,
        alias=PRODUCTION,
        to=None,
        expected_revision=None,
        reason="it forgot",
    )
    moves = [one for one in told(scene, webhook) if one.type == "alias.moved"]
    assert [one.payload["data"]["revision"] for one in moves] == [1, 2, 3]
    assert [one.payload["data"]["kind"] for one in moves] == ["created", "promoted", "rolled_back"]
    assert {one.object for one in moves} == {f"{model.id}@{PRODUCTION}"}


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
    with pytest.raises(Exception, match="Another worker"), scene.platform.transactions() as work:
        claimed = work.jobs.claim("w", 60, 3)
        assert claimed is not None
        work.jobs.finish(claimed.fail({"code": "x"}, claimed.created_at), claimed.fence + 1)
    assert told(scene, webhook) == before
    assert replace(job) == scene.job(job)
