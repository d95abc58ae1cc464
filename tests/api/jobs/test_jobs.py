"""Jobs: ordered, refused, replayed, cancelled, retried, listed, and what has happened to them."""

import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from api.jobs import routes as job_events
from api.jobs.schemas import JobQuery
from core.access.rows import Keys
from core.database.tables import api_keys, sessions
from core.datasets.manifests import Side
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder, ImportOrder
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Progress
from core.principal import Role
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.values import ErasureId, JobId
from tests.support.api.archives import zipped
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.image_files import picture, pictures_on
from tests.support.api.orders import a_dataset, frozen, update
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service, code_of, running, settings_of
from tests.support.factories import NOW, a_job, a_job_of_no_model
from tests.support.processes import wait_for
from tests.support.scene import Scene

ZIP = {"Content-Type": "application/zip"}


def test_an_update_is_queued(ready: Service) -> None:
    order = update(recipe={"method": "ft", "epochs": 3}, metadata={"team": "shoes"}, priority=7)
    answer = ready.client.post("/v1/jobs", json=order)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (job["status"], job["done"], job["model"]) == ("queued", False, "demo")
    assert (job["recipe"]["method"], job["recipe"]["epochs"]) == ("ft", 3)
    assert job["recipe"]["batch_size"] == 100
    assert job["dataset_version"]["version"] == 1
    assert (job["metadata"], job["priority"]) == ({"team": "shoes"}, 7)
    assert ready.client.get(answer.headers["location"]).json() == job
    wait_for(ready.messages, seconds=60)


def test_no_more_jobs_wait_than_may_wait(home: Path) -> None:
    with running(settings_of(home, max_waiting_per_model=2, max_waiting_per_key=3)) as service:
        a_candidate(service.platform, a_root(service.platform))
        a_root(service.platform, "other")
        a_dataset(service, "products", boot=0, bag=3)
        client, other, keyed = service.client, update(model="other"), {"Idempotency-Key": "k"}
        cancelled = client.post("/v1/jobs", json=other).json()["links"]
        client.post(cancelled["cancel"])
        first = client.post("/v1/jobs", json=update(), headers=keyed).json()
        client.post("/v1/jobs", json=update())
        with service.untouched():
            refused = client.post("/v1/jobs", json=update())
            assert code_of(refused) == (429, "too_many_jobs")
            assert refused.headers["retry-after"] == "60"
            facts = {"waiting": 2, "limit": 2, "retry_after_s": 60}
            assert refused.json()["facts"] == facts
            again = client.post("/v1/jobs", json=update(), headers=keyed)
            assert again.json() == first
        assert client.post("/v1/jobs", json=other).status_code == 202
        images = enumerate(pictures_on(Side.TRAIN, 9)[:6])
        taught = [("ab"[n % 2], (f"{n}.png", image)) for n, image in images]
        evaluation = {"type": "evaluate", "model": "demo", "version": 2}
        with service.untouched():
            for refused in (
                client.post("/v1/jobs", json=other),
                client.post("/v1/jobs", json=evaluation),
                client.post(f"{cancelled['self']}/retry"),
                client.post("/v1/models", json={"name": "fresh"}),
                client.post("/v1/models/other/classes", files=taught),
            ):
                assert code_of(refused) == (429, "too_many_jobs"), refused.request.url
        archive = {"content": zipped({"a/1.png": picture(1)}), "headers": ZIP}
        refused = client.post("/v1/datasets/products/imports", **archive)
        assert code_of(refused) == (429, "too_many_jobs")
        others = client.post("/v1/jobs", json=other, headers=service.key(Role.CONTRIBUTOR))
        assert others.status_code == 202


def test_a_job_is_queued_while_the_broker_is_down(
    ready: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery.Celery.send_task", Mock(side_effect=ConnectionRefusedError))
    assert ready.client.post("/v1/jobs", json=update()).status_code == 202


REFUSED = [
    ({"model": "nope"}, 404, "model_not_found"),
    ({"alias": "staging"}, 404, "alias_not_found"),
    ({"dataset": "poor"}, 422, "too_few_per_class"),
    ({"recipe": {"learning_rate": 5}}, 422, "recipe_invalid"),
    ({"prompt": "no slot"}, 422, "prompt_invalid"),
    ({"type": "dream"}, 422, "field_invalid"),
    ({"path": "file:/etc/passwd"}, 422, "field_unknown"),
    ({"priority": 10}, 422, "field_invalid"),
]


def test_what_would_keep_an_update_from_starting(ready: Service) -> None:
    frozen(ready, "poor", ("boot", pictures_on(Side.TRAIN, 9)[8]))
    for changes, status, code in REFUSED:
        with ready.untouched():
            answer = ready.client.post("/v1/jobs", json=update(**changes))
        assert code_of(answer) == (status, code), changes
        if code == "recipe_invalid":
            assert answer.json()["errors"][0]["pointer"] == "/recipe/learning_rate"


def test_a_reference_set_is_kept_by_id_however_it_is_sent(ready: Service) -> None:
    frozen(ready, "shown", ("a thing", pictures_on(Side.TRAIN, 1)[0]), kind="captioned")
    kept = {"dataset": ready.client.get("/v1/datasets/shown").json()["id"], "version": 1}
    zscl, shown = {"method": "zscl"}, {"dataset": "shown", "version": 1}
    job = ready.client.post("/v1/jobs", json=update(recipe=zscl, reference=shown)).json()
    assert job["reference"] == kept
    images = enumerate(pictures_on(Side.TRAIN, 9))
    taught = [("ab"[n % 2], (f"{n}.png", image)) for n, image in images]
    for reference, status in (("x", 422), ({"dataset": "shown"}, 422), (shown, 202)):
        form = {"recipe": json.dumps(zscl), "reference": json.dumps(reference)}
        answer = ready.client.post("/v1/models/demo/classes", data=form, files=taught)
        assert answer.status_code == status, reference
        if status == 422:
            assert answer.json()["errors"][0]["pointer"] == "/reference"
    assert answer.json()["job"]["reference"] == kept


def test_captions_beside_classes_are_frozen_unless_a_version_is_named(ready: Service) -> None:
    images = [*pictures_on(Side.TRAIN, 42)[20:], *pictures_on(Side.HOLDOUT, 22)[12:]]
    frozen(ready, "things", *((("jug", "pot")[n % 2], one) for n, one in enumerate(images[::2])))
    *told, last = ((f"thing {n}", one) for n, one in enumerate(images[1::2]))
    frozen(ready, "told", *told, kind="captioned")
    added = [("a last thing", ("last.png", last[1]))]
    assert ready.client.post("/v1/datasets/told/images", files=added).status_code == 200
    named = ready.client.get("/v1/datasets/told").json()["id"]
    both = update(dataset="things")
    for asked, version in (({"version": 1}, 1), ({}, 2)):
        job = ready.client.post("/v1/jobs", json={**both, "captions": {"dataset": "told", **asked}})
        assert job.json().get("captions") == {"dataset": named, "version": version}, job.text
    beside = {**both, "captions": {"dataset": "told"}}
    advised = ready.client.post("/v1/jobs/advice", json=beside)
    assert advised.json()["errors"][0]["pointer"] == "/captions/version"
    beside["captions"]["version"] = 2
    assert ready.client.post("/v1/jobs/advice", json=beside).status_code == 200


def test_an_update_moves_its_alias_by_itself_only_if_an_operator_has_ordered_it(
    ready: Service,
) -> None:
    operator, contributor = ready.key(Role.OPERATOR), ready.key(Role.CONTRIBUTOR)
    client = ready.client
    images = enumerate(pictures_on(Side.TRAIN, 9)[:6])
    taught = [("ab"[n % 2], (f"{n}.png", image)) for n, image in images]
    for headers, moves in ((operator, True), (contributor, False)):
        asked = [{}, {"auto_promote": False}, {"auto_promote": moves}]
        made = [client.post("/v1/jobs", json=update(**how), headers=headers) for how in asked]
        made.append(client.post("/v1/models/demo/classes", files=taught, headers=headers))
        jobs = [answer.json().get("job", answer.json())["id"] for answer in made]
        with ready.platform.transactions(read_only=True) as work:
            orders = [work[Jobs].get(job).order for job in jobs]
        assert [order.auto_promote for order in orders] == [moves, False, moves, moves]
        client.post(f"/v1/jobs/{jobs[0]}/cancel", headers=contributor)
        with ready.untouched():
            refused = client.post("/v1/jobs", json=update(auto_promote=True), headers=contributor)
            assert code_of(refused) == (403, "forbidden")
            assert refused.json()["facts"]["required_role"] == "operator"
        again = client.post(f"/v1/jobs/{jobs[0]}/retry", headers=contributor)
        assert again.status_code == (403 if moves else 202)


CONVERT = {"type": "convert", "model": "demo", "precision": "bf16"}


def test_a_conversion_is_queued_once_and_moves_its_alias_only_for_an_operator(
    ready: Service,
) -> None:
    operator, contributor = ready.key(Role.OPERATOR), ready.key(Role.CONTRIBUTOR)
    keyed = {"Idempotency-Key": "k", **operator}
    order = {**CONVERT, "version": 1, "priority": 3, "metadata": {"for": "cpus"}}
    answer = ready.client.post("/v1/jobs", json=order, headers=keyed)
    job = answer.json()
    assert (answer.status_code, job["type"], job["priority"]) == (202, "convert", 3)
    asked = {"precision": "bf16", "alias": "production", "auto_promote": True}
    assert (job["conversion"], job["metadata"]) == (asked, {"for": "cpus"})
    assert ready.client.post("/v1/jobs", json=order, headers=keyed).json() == job
    with ready.untouched():
        refused = ready.client.post(
            "/v1/jobs", json={**CONVERT, "auto_promote": True}, headers=contributor
        )
        assert code_of(refused) == (403, "forbidden")
    by_default = ready.client.post("/v1/jobs", json=CONVERT, headers=contributor).json()
    assert by_default["conversion"] == {**asked, "auto_promote": False}
    assert ready.client.get("/v1/models/demo/versions/1").json()["precision"] == "fp32"


def test_what_would_keep_a_conversion_from_starting(ready: Service) -> None:
    for changes, status, code, pointer in (
        ({"precision": "fp32"}, 422, "field_invalid", "/precision"),
        ({"precision": "int4"}, 422, "field_invalid", "/precision"),
        ({"version": 9}, 404, "version_not_found", None),
        ({"alias": "staging"}, 404, "alias_not_found", None),
        ({"model": "nope"}, 404, "model_not_found", None),
        ({"recipe": {}}, 422, "field_unknown", "/recipe"),
    ):
        with ready.untouched():
            answer = ready.client.post("/v1/jobs", json={**CONVERT, **changes})
        assert code_of(answer) == (status, code), changes
        if pointer is not None:
            assert answer.json()["errors"][0]["pointer"].endswith(pointer)


def test_the_same_idempotency_key_and_body_give_the_same_job(ready: Service) -> None:
    key = {"Idempotency-Key": "order-1"}
    first = ready.client.post("/v1/jobs", json=update(), headers=key)
    with ready.untouched():
        again = ready.client.post("/v1/jobs", json=update(), headers=key)
        other = ready.client.post("/v1/jobs", json=update(parent=1), headers=key)
        elsewhere = ready.client.post("/v1/models", json={"name": "x"}, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert code_of(other) == (422, "idempotency_mismatch")
    assert code_of(elsewhere) == (422, "idempotency_mismatch")
    fresh = ready.client.post("/v1/jobs", json=update(), headers={"Idempotency-Key": "order-2"})
    assert fresh.json()["id"] != first.json()["id"]


def test_a_job_is_cancelled_once(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    answer = ready.client.post(job["links"]["cancel"])
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["done"]) == ("cancelled", True)
    with ready.untouched():
        again = ready.client.post(job["links"]["cancel"])
        missing = ready.client.post("/v1/jobs/job_nope/cancel")
    assert code_of(again) == (409, "job_finished")
    assert code_of(missing) == (404, "job_not_found")


def test_a_running_job_tells_how_far_it_is_and_that_it_is_cancelling(ready: Service) -> None:
    cancel = ready.client.post("/v1/jobs", json=update()).json()["links"]["cancel"]
    with ready.platform.transactions() as work:
        claimed = work[Jobs].claim("worker", 60, 3)
        assert claimed is not None
        progress = Progress(step=2, total=9, eta_s=1.5, terms={"loss": 0.5})
        work[Jobs].advance(
            claimed.id, claimed.fence, lease_s=60, phase="training", progress=progress
        )
        work[Jobs].set_parent(claimed.id, claimed.fence, 1)
        work.commit()
    job = ready.client.get(f"/v1/jobs/{claimed.id}").json()
    assert (job["status"], job["phase"], job["attempt"]) == ("running", "training", 1)
    assert job["progress"] == {"step": 2, "total": 9, "eta_s": 1.5, "terms": {"loss": 0.5}}
    root = ready.client.get("/v1/models/demo/versions/1").json()
    assert (job["parent_version"], job["parent_digest"]) == (1, root["digest"])
    assert ready.client.post(cancel).json()["status"] == "cancelling"


def test_a_retry_is_a_new_job_that_names_the_old_one(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    with ready.untouched():
        early = ready.client.post(f"/v1/jobs/{job['id']}/retry")
    assert code_of(early) == (409, "conflict")
    ready.client.post(job["links"]["cancel"])
    key = {"Idempotency-Key": "again"}
    again = ready.client.post(f"/v1/jobs/{job['id']}/retry", headers=key)
    assert again.status_code == 202
    assert again.json()["retry_of"] == job["id"]
    assert again.json()["recipe"] == job["recipe"]
    replay = ready.client.post(f"/v1/jobs/{job['id']}/retry", headers=key)
    assert replay.json()["id"] == again.json()["id"]
    ready.client.post(again.json()["links"]["cancel"])
    other = ready.client.post(f"/v1/jobs/{again.json()['id']}/retry", headers=key)
    assert code_of(other) == (422, "idempotency_mismatch")  # a key is for one path


def test_jobs_are_listed_newest_first_and_filtered(ready: Service) -> None:
    made = [ready.client.post("/v1/jobs", json=update()).json()["id"] for _ in range(3)]
    ready.client.post(f"/v1/jobs/{made[0]}/cancel")
    page = ready.client.get("/v1/jobs?type=update&limit=2").json()
    assert [job["id"] for job in page["data"]] == made[:0:-1]
    rest = ready.client.get("/v1/jobs", params={"type": "update", "after": page["next"]}).json()
    assert [job["id"] for job in rest["data"]] == made[:1]
    queued = ready.client.get("/v1/jobs?status=cancelled&model=demo").json()
    assert [job["id"] for job in queued["data"]] == made[:1]
    assert code_of(ready.client.get("/v1/jobs?model=nope")) == (404, "model_not_found")


def test_jobs_are_filtered_by_time_and_metadata(ready: Service) -> None:
    made = {}
    for hour, metadata in enumerate([{"team": "shoes"}, {"team": "bags", 'a"b': "%"}, {}]):
        job = a_job_of_no_model(
            "dataset:ds_1", created_at=NOW + timedelta(hours=hour), metadata=metadata
        )
        with ready.platform.transactions() as work:
            work[Jobs].add(job)
            work.commit()
        made[hour] = job.id

    def hours(**params: str) -> set[int]:
        answer = ready.client.get("/v1/jobs", params=params)
        assert answer.status_code == 200, answer.text
        found = [job["id"] for job in answer.json()["data"]]
        return {hour for hour, job in made.items() if job in found}

    first, last = NOW.isoformat(), (NOW + timedelta(hours=2)).isoformat()
    assert hours(created_since=first, created_until=last) == {0, 1}
    assert hours(created_since=last) == {2}
    assert hours(created_until="2026-03-01T14:00:00.123456+01:00") == {0}
    assert hours(metadata="team:shoes") == {0}
    assert hours(metadata="team") == {0, 1}
    assert hours(metadata='a"b:%') == {1}
    assert hours(metadata="tea") == hours(metadata="team:shoe") == hours(metadata="team:") == set()
    assert hours(metadata="team", created_since=last) == set()
    assert code_of(ready.client.get("/v1/jobs?metadata=")) == (422, "field_invalid")


def test_events_come_as_a_stream_that_ends_with_the_job(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    ready.client.post(job["links"]["cancel"])
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    answer = ready.client.get(job["links"]["events"], headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [
        dict(line.split(": ", 1) for line in text.splitlines())
        for text in answer.text.strip().split("\n\n")
    ]
    assert [event["event"] for event in told] == ["cancelled", "done"]
    assert told[0]["id"] == "2"
    assert json.loads(told[0]["data"])["kind"] == "cancelled"


def test_a_key_has_so_many_streams_open(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    ready.client.post(job["links"]["cancel"])
    with ready.platform.transactions(read_only=True) as work:
        key = work[Keys].get("admin").id
    streams, headers = ready.services.streams, {"Accept": "text/event-stream"}
    streams[key] = ready.settings.max_streams_per_key
    refused = ready.client.get(job["links"]["events"], headers=headers)
    assert code_of(refused) == (429, "too_many_streams")
    assert refused.headers["retry-after"] == "10"
    assert ready.client.get(job["links"]["events"]).status_code == 200
    other = ready.key(Role.VIEWER)
    assert ready.client.get(job["links"]["events"], headers=headers | other).status_code == 200
    streams[key] -= 1
    assert ready.client.get(job["links"]["events"], headers=headers).status_code == 200
    assert streams == {key: ready.settings.max_streams_per_key - 1}  # what has ended is not counted


def test_a_stream_without_events_beats(ready: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    reads, read = itertools.count(1), job_events.read_events

    def read_and_cancel(*asked: Any) -> Any:
        if next(reads) == 6:
            cancel_job(ready.platform, JobId(job["id"]))
        return read(*asked)

    monkeypatch.setattr(job_events, "read_events", read_and_cancel)
    monkeypatch.setattr(job_events, "POLL_EVERY_S", 0.0)
    monkeypatch.setattr(job_events, "KEEP_ALIVE_EVERY", 2)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    answer = ready.client.get(job["links"]["events"], headers=headers)
    assert answer.text.startswith(": beat\n\n: beat\n\nid: 2\nevent: cancelled\n")


def test_an_order_without_a_version_freezes_the_dataset_or_nothing(ready: Service) -> None:
    now, mine = update(dataset_version=None), ready.key(Role.CONTRIBUTOR)
    where = "/v1/datasets/products/versions"
    versions = ready.client.get(where).json()["data"]
    same = ready.client.post("/v1/jobs", json=now).json()
    assert same["dataset_version"]["version"] == len(versions)  # which has the same images
    sent = [("bag", (f"{n}.png", picture(n))) for n in (90, 91)]
    assert ready.client.post("/v1/datasets/products/images", files=sent).status_code == 200
    with ready.untouched():
        for wrong, code in (
            ({"alias": "nowhere"}, "alias_not_found"),
            ({"parent": 99}, "version_not_found"),
            ({"prompt": "a"}, "prompt_invalid"),
            ({"dataset": "nothing"}, "dataset_not_found"),
        ):
            assert code_of(ready.client.post("/v1/jobs", json=now | wrong))[1] == code
        moves = ready.client.post("/v1/jobs", json=now | {"auto_promote": True}, headers=mine)
        assert code_of(moves) == (403, "forbidden")
        advised = ready.client.post("/v1/jobs/advice", json=now)
        assert code_of(advised) == (422, "field_invalid")
        assert advised.json()["errors"][0]["pointer"] == "/dataset_version"
    keyed = {"Idempotency-Key": "once"}
    job = ready.client.post("/v1/jobs", json=now, headers=keyed).json()
    assert job["dataset_version"]["version"] == len(versions) + 1
    assert ready.client.post("/v1/datasets/products/images", files=sent[:1]).status_code == 200
    again = ready.client.post("/v1/jobs", json=now, headers=keyed).json()
    assert (again["id"], again["dataset_version"]) == (job["id"], job["dataset_version"])
    assert len(ready.client.get(where).json()["data"]) == len(versions) + 1


def test_the_page_of_a_job_tells_what_is_true_of_its_version_now(ready: Service) -> None:
    with ready.platform.transactions(read_only=True) as work:
        model = work[Models].get("demo")
    a_candidate(ready.platform, model, verdict=Verdict.PASSED)
    promotion = {"alias": "production", "reason": "not_asked_for"}
    result = {"version": 2, "verdict": "passed", "promotion": promotion}
    job = a_job(model).succeed(result, NOW)
    with ready.platform.transactions() as work:
        work[Jobs].add(job)
        work.commit()
    operator = browser_of(ready, Role.OPERATOR)

    def page() -> str:
        return operator.get(f"/ui/jobs/{job.id}").text

    offered = "/ui/models/demo/aliases/production/promotion?version=2"
    assert (">passed</span>" in page(), offered in page()) == (True, True)
    to = {"version": 2, "reason": "reviewed", "override": True}
    moved = ready.client.put(
        "/v1/models/demo/aliases/production", json=to, headers={"If-Match": "*"}
    )
    assert moved.status_code == 200, moved.text
    assert ("live as production, promoted by hand" in page(), offered in page()) == (True, False)
    with ready.platform.transactions() as work:
        work[Versions].mark(model.id, 2, ErasureId("era_x"))
        work.commit()
    for shown in (page(), operator.get("/ui/jobs").text):
        assert "learned from erased images" in shown
        assert "still live as production" in shown
    assert (">passed</span>" in page(), offered in page()) == (False, False)


KEY_ENDS = {
    "revoked": {"revoked_at": NOW},
    "expired": {"expires_at": NOW},
    "demoted": {"role": "a later release's"},
    "limited": {"models": []},
    "kept": {},
}


@pytest.mark.parametrize("ends", KEY_ENDS)
def test_a_stream_ends_with_the_rights_of_its_key(
    ready: Service, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    mine = ready.key(Role.VIEWER)
    reads, read = itertools.count(1), job_events.read_events

    def read_and_change(*asked: Any) -> Any:
        number = next(reads)
        if number == 3 and KEY_ENDS[ends]:
            with ready.platform.transactions() as work:
                viewers = api_keys.c.role == Role.VIEWER
                work.connection.execute(sa.update(api_keys).where(viewers).values(KEY_ENDS[ends]))
                work.commit()
        if number == 6:
            cancel_job(ready.platform, JobId(job["id"]))
        return read(*asked)

    monkeypatch.setattr(job_events, "read_events", read_and_change)
    monkeypatch.setattr(job_events, "POLL_EVERY_S", 0.0)
    monkeypatch.setattr(job_events, "CHECK_EVERY_S", 0.0)
    headers = {"Accept": "text/event-stream"} | mine
    told = ready.client.get(job["links"]["events"], headers=headers).text
    assert "event: queued" in told
    assert ("event: done" in told) == (ends == "kept")
    assert ready.services.streams == {}


def test_the_stream_of_a_page_ends_with_its_session(
    ready: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    viewer = browser_of(ready, Role.VIEWER)
    reads, read = itertools.count(1), job_events.read_events

    def read_and_sign_out(*asked: Any) -> Any:
        number = next(reads)
        if number == 3:
            with ready.platform.transactions() as work:
                work.connection.execute(sa.delete(sessions))
                work.commit()
        if number == 6:
            cancel_job(ready.platform, JobId(job["id"]))
        return read(*asked)

    monkeypatch.setattr(job_events, "read_events", read_and_sign_out)
    monkeypatch.setattr(job_events, "POLL_EVERY_S", 0.0)
    monkeypatch.setattr(job_events, "CHECK_EVERY_S", 0.0)
    told = viewer.get(f"/ui/jobs/{job['id']}/events").text
    assert ("event: queued" in told, "event: done" in told) == (True, False)


def test_events_in_another_form_are_refused(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    answer = ready.client.get(job["links"]["events"], headers={"Accept": "text/csv"})
    assert code_of(answer) == (406, "not_acceptable")
    headers = {"Last-Event-ID": "1"}
    answer = ready.client.get(job["links"]["events"] + "?after=-1", headers=headers)
    assert code_of(answer) == (422, "field_invalid")


def test_a_contributor_cancels_a_job_and_orders_it_again(
    shared_service: Service, line: Scene, viewer: Browser
) -> None:
    helper = browser_of(shared_service, Role.CONTRIBUTOR)
    with line.platform.transactions(read_only=True) as work:
        model = work[Models].get("line")
    foreign = line.order(model, ImportOrder(base="bundled"))  # which an operator orders
    here = f"/ui/jobs/{foreign.id}"
    assert f'action="{here}/' not in helper.get(here).text
    assert helper.send(f"{here}/cancel").status_code == 403
    cancel_job(line.platform, foreign.id)
    assert f'action="{here}/' not in helper.get(here).text
    assert helper.send(f"{here}/retry").status_code == 403
    job = line.order(model, EvaluateOrder(version=2))
    here = f"/ui/jobs/{job.id}"
    assert f'action="{here}/cancel"' in helper.get(here).text
    assert helper.send(f"{here}/cancel").headers["location"] == here
    assert line.job(job).status is JobStatus.CANCELLED
    assert f'action="{here}/retry"' in helper.get(here).text
    assert f'action="{here}/retry"' not in viewer.get(here).text
    again = helper.send(f"{here}/cancel")
    assert (again.status_code, "409 job_finished" in again.text) == (409, True)
    retried = helper.send(f"{here}/retry").headers["location"]
    assert retried != here
    assert f'href="{here}">an earlier try' in helper.get(retried).text
    helper.send(f"{retried}/cancel")


def test_the_form_of_the_list_has_every_filter(viewer: Browser) -> None:
    text, fields = viewer.get("/ui/jobs").text, JobQuery.model_fields.items()
    names = {field.alias or name for name, field in fields}
    for name in names - {"limit", "after"}:
        assert f'name="{name}"' in text, name


def test_the_list_filters_by_model_type_status_and_metadata(line: Scene, viewer: Browser) -> None:
    text = viewer.get("/ui/jobs?model=line&type=update&status=").text
    assert text.count('href="/ui/models/line/versions/2"') == 1
    assert "evaluate</a>" not in text
    assert '<option value="update" selected>' in text
    assert "No job matches." in viewer.get("/ui/jobs?status=failed").text
    assert "No job matches." in viewer.get("/ui/jobs?model=&metadata=team%3Anobody").text
    assert viewer.get("/ui/jobs?type=bogus").status_code == 422


def test_the_list_filters_by_time_in_utc(line: Scene, viewer: Browser) -> None:
    with line.platform.transactions(read_only=True) as work:
        created = work[Jobs].page(1, None)[0].created_at
    minute, next_minute = (f"{created + timedelta(minutes=n):%Y-%m-%dT%H:%M}" for n in (0, 1))
    found = viewer.get(f"/ui/jobs?created_since={minute}&created_until={next_minute}").text
    assert "No job matches." not in found
    assert f'name="created_since" type="datetime-local" value="{minute}"' in found
    assert "No job matches." in viewer.get(f"/ui/jobs?created_since={next_minute}").text
    assert viewer.get("/ui/jobs?created_since=yesterday").status_code == 422
