"""Versions, aliases, trials and jobs, and downloads that go on where they stopped."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from core.datasets.manifests import Side
from core.gate.rules import Verdict
from core.trials.rows import Predictions
from perennial.client import Client
from perennial.errors import JobFailed, ServiceError
from perennial.requests import ImageFile
from tests.support.api.image_files import pictures_on
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.served import Served
from tests.support.evaluation.each_class import knowing_each
from tests.support.factories import a_prediction
from tests.support.scene import Scene
from tests.support.servers.scripted import Script


@pytest.fixture
def model(served: Served) -> str:
    """A model of the test's own with two versions, of which the first is live."""
    made = a_root(served.platform, f"m-{uuid.uuid4().hex}")
    a_candidate(served.platform, made, verdict=Verdict.PASSED)
    return made.name


def test_a_reply_of_not_modified_is_returned(served: Served, model: str) -> None:
    path = f"/v1/models/{model}/versions/1/download"
    tag = served.client.request("GET", path).headers["ETag"]
    answer = served.client.request("GET", path, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")


def test_an_alias_moves_and_goes_as_it_was_seen(served: Served, model: str) -> None:
    aliases, versions = served.client.aliases, served.client.versions
    made = aliases.promote(model, 2, alias="staging", expected_revision=0)
    assert (made["alias"], made["revision"]) == ("staging", 1)
    assert aliases.promote(model, 2)["revision"] == 2
    for stale in (
        lambda: aliases.promote(model, 2, alias="staging", expected_revision=0),
        lambda: aliases.promote(model, 2, expected_revision=7),
        lambda: aliases.roll_back(model, reason="worse", expected_revision=7),
        lambda: aliases.delete(model, "production", reason="paused", expected_revision=7),
    ):
        with pytest.raises(ServiceError, match="412 stale_revision"):
            stale()
    aliases.delete(model, "staging", reason="paused", expected_revision=1)
    aliases.delete(model, "production", reason="paused")
    assert list(aliases.list(model)) == []
    assert [move["reason"] for move in aliases.history(model)][2:] == ["paused"]
    versions.delete(model, 2, reason="not needed")
    assert [version["version"] for version in versions.list(model)] == [1]


def whole(served: Served, model: str) -> bytes:
    return served.client.request("GET", f"/v1/models/{model}/versions/1/download").content


@pytest.mark.parametrize("arrived", [1, 2, 1000, -1, None])
def test_an_interrupted_download_goes_on(
    served: Served, model: str, tmp_path: Path, arrived: int | None
) -> None:
    data, first = whole(served, model), []

    def interrupt(there: int, total: int) -> None:
        first.append(there)
        raise KeyboardInterrupt

    to = tmp_path / "one.tar"
    with pytest.raises(KeyboardInterrupt):
        served.client.versions.download(model, 1, to=to, on_bytes=interrupt)
    (part,) = tmp_path.iterdir()
    part.write_bytes(data[:arrived])

    seen: list[int] = []
    served.client.versions.download(model, 1, to=to, on_bytes=lambda there, _: seen.append(there))
    assert to.read_bytes() == data
    assert list(tmp_path.iterdir()) == [to]


def test_only_the_missing_bytes_of_the_same_version_are_sent(
    served: Served, model: str, tmp_path: Path
) -> None:
    data, download = whole(served, model), served.client.versions.download
    digest = served.client.versions.get(model, 1)["digest"]
    (tmp_path / "one.tar.0123456789abcdef.part").write_bytes(b"another version's")
    assert download(model, 1, to=tmp_path / "one.tar").read_bytes() == data
    marked = b"\0" * 1000  # not what the service has: it stays if it is not sent again
    (tmp_path / f"two.tar.{digest[:16]}.part").write_bytes(marked)
    assert download(model, 1, to=tmp_path / "two.tar").read_bytes() == marked[:-1] + data[999:]


def test_versions_are_compared(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(served.platform.transactions, served.platform.artifacts)
    made = scene.model()
    scene.suite(made, scene.frozen("hat", "bag", each=6, offset=500), name="easy")
    knowing_each(scene, made, monkeypatch, {1: ("hat",), 2: ("bag", "cat", "dog")})
    scene.update(made, scene.frozen("cat", "dog", offset=40), auto_promote=False)
    scene.run()
    versions = served.client.versions
    flips = list(versions.flips("demo", 2))
    lost = list(versions.flips("demo", 2, against=1, kind="lost", suite="easy", class_name="hat"))
    assert lost == [flip for flip in flips if flip["class"] == "hat"]
    assert {flip["now"] for flip in lost} == {"bag"}
    comparison = versions.compare("demo", 1, 2)
    assert (comparison["before"]["version"], comparison["now"]["version"]) == (1, 2)
    assert comparison["lost"] + comparison["gained"] == len(flips)
    assert versions.blame("demo", "hat", version=2)["version"] == 2
    assert versions.blame("demo", "hat")["version"] == 1


def test_a_trial_is_started_labelled_shown_and_stopped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_candidate(served.platform, a_root(served.platform, "tried"), verdict=Verdict.PASSED)
    trials = served.client.trials
    with pytest.raises(ServiceError, match="412 stale_revision"):
        trials.start("tried", 2, mode="shadow", expected_revision=7)
    started = trials.start("tried", 2, mode="canary", share=0.25, reason="is it better?")
    assert (started["candidate"], started["share"], started["end"]) == (2, 0.25, None)

    monkeypatch.setattr("perennial.resources.serving.LABELS_AT_ONCE", 2)
    with served.platform.transactions() as work:
        made = [a_prediction(id=f"pred_{number}", trial=started["id"]) for number in (1, 2, 3)]
        work[Predictions].add(made)
        work.commit()
    receipts = trials.label([(f"pred_{number}", "boot") for number in (1, 2, 3, 0)])
    codes = [one["status"] or (one["error"] or {})["code"] for one in receipts]
    assert codes == ["counted", "counted", "counted", "prediction_not_found"]
    with pytest.raises(ServiceError, match="404 prediction_not_found"):
        trials.label([("pred_0", "boot")])

    assert trials.get("tried")["id"] == started["id"]
    stopped = trials.stop("tried", started["id"], reason="enough")
    assert list(trials.list("tried")) == [stopped]


TAUGHT = [
    (text, ImageFile(file_name=f"{n}.png", data=data))
    for n, data in enumerate(pictures_on(Side.TRAIN, 6))
    for text in [("boot", "bag")[n % 2]]
]


def test_an_update_is_ordered_found_and_followed(served: Served) -> None:
    a_candidate(served.platform, a_root(served.platform, "shoes"))
    jobs, datasets = served.client.jobs, served.client.datasets
    datasets.create("products")
    datasets.upload("products", TAUGHT)
    datasets.freeze("products")
    job = jobs.order_update(
        model="shoes",
        dataset="products",
        dataset_version=1,
        parent=1,
        priority=4,
        metadata={"team": "shop"},
    )
    assert (job["priority"], job["metadata"]) == (4, {"team": "shop"})
    assert jobs.get(job["id"]) == job

    now = datetime.now(UTC)
    other = jobs.order_evaluation(model="shoes", version=2)
    updates = jobs.list(model="shoes", type="update", status="queued", created_until=now)
    listed = {name: value for name, value in job.items() if name != "recipe"}
    assert list(updates) == [listed]
    assert [found["id"] for found in jobs.list(created_since=now)] == [other["id"]]
    assert list(jobs.list(metadata="team:shop")) == [listed]

    jobs.cancel(job["id"])
    events = list(jobs.events(job["id"]))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert list(jobs.events(job["id"], after=1)) == events[1:]


def state(status: str, error: Any = None) -> Response:
    done = status in {"succeeded", "failed", "cancelled"}
    return JSONResponse({"id": "job_1", "status": status, "done": done, "error": error})


def test_waiting_shows_every_state_and_raises_how_the_job_ended(
    script: Script, scripted_client: Client
) -> None:
    wait = scripted_client.jobs.wait
    script.replies = [state("queued"), state("succeeded")]
    assert wait("job_1", every=0)["status"] == "succeeded"
    lost = {"code": "rank_lost", "message": "A rank has ended."}
    for ended, error, said in (
        ("cancelled", None, "^Job job_1 was cancelled$"),
        ("failed", lost, r"failed: rank_lost: A rank has ended\.$"),
    ):
        script.replies, seen = [state("queued"), state(ended, error)], list[str]()
        with pytest.raises(JobFailed, match=said) as raised:
            wait("job_1", lambda job, seen=seen: seen.append(job["status"]), every=0)
        assert seen == ["queued", ended]
        assert raised.value.job["error"] == error
    script.replies = [state("queued")]
    with pytest.raises(TimeoutError, match="is queued after 0 s"):
        wait("job_1", every=0, timeout=0)
