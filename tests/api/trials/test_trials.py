"""Trials over HTTP: who answers, what a reply says of it, and what labels amount to."""

from itertools import count
from typing import Any

import pytest

from core.gate.rules import Verdict
from core.principal import Role
from core.registry.versions import Model
from tests.support.api.image_files import image_part
from tests.support.api.oracle import Oracle
from tests.support.api.seeds import a_candidate
from tests.support.api.service import EMBEDDED, Service, code_of
from tests.support.processes import wait_for

pytestmark = EMBEDDED  # what the databases do is tested in tests/contract/trials

CLASSIFY = "/v1/models/demo/classify"

TRIALS = "/v1/models/demo/aliases/production/trials"

TWO = {"classes": '["boot", "bag"]'}

SHADOW = {"version": 2, "mode": "shadow"}

CANARY = {"version": 2, "mode": "canary", "share": 0.5}


def start(service: Service, body: dict[str, Any]) -> Any:
    made = service.client.post(TRIALS, json=body, headers={"If-Match": '"1"'})
    assert made.status_code == 201, made.text
    return made.json()


def classify(service: Service, images: int = 1, **headers: str) -> Any:
    files = [image_part(seed) for seed in range(images)]
    answer = service.client.post(CLASSIFY, files=files, data=TWO, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def digest_of(service: Service, version: int) -> str:
    found: str = service.client.get(f"/v1/models/demo/versions/{version}").json()["digest"]
    return found


def label(service: Service, *labels: tuple[str, str]) -> Any:
    body = {"labels": [{"prediction": one, "label": name} for one, name in labels]}
    return service.client.post("/v1/feedback", json=body)


def report(service: Service, trial: str = "latest") -> Any:
    service.services.trials.recorder.flush()
    return service.client.get(f"{TRIALS}/{trial}").json()


def settled(service: Service, images: int) -> Any:
    """The report, once it is known what became of the candidate for so many images."""

    def found() -> Any:
        seen = report(service)
        counts = seen["counts"]["shadow"]
        known = sum(counts[name] for name in ("agreed", "disagreed", "dropped", "failed"))
        return seen if known == images else None

    return wait_for(found, seconds=20)


def test_a_shadow_is_asked_after_the_live_version_and_labels_make_pairs(
    service: Service, oracle: Oracle, model: Model
) -> None:
    trial = start(service, SHADOW | {"reason": "try it"})
    oracle.turned = {digest_of(service, 2): 1}  # it says "bag" wherever the live one says "boot"
    answer = classify(service, images=3)
    assert (answer["version"], answer["trial"]["arm"]) == (1, "current")
    assert answer["trial"] == {"id": trial["id"], "mode": "shadow", "arm": "current"}
    assert [row["predictions"][0]["class"] for row in answer["data"]] == ["boot"] * 3
    ids = [row["prediction"] for row in answer["data"]]
    seen = settled(service, 3)
    assert seen["counts"]["shadow"]["disagreed"] == 3
    assert service.client.get(f"{TRIALS}/latest/samples").json()["data"] == []  # by default
    assert seen["verdict"] == "undecided"
    asked = service.client.get(f"{TRIALS}/latest/to-label", headers=service.key(Role.VIEWER)).json()
    assert {row["prediction"] for row in asked["data"]} == set(ids)
    first = asked["data"][0]
    assert (first["current"], first["candidate"], first["pixels"]) == ("boot", "bag", None)
    sent = label(service, (ids[0], "Bag"), (ids[1], "boot"), (ids[1], "bag"))
    assert [row["status"] for row in sent.json()["data"]] == ["counted", "counted", None]
    assert sent.json()["data"][2]["error"]["code"] == "prediction_labelled"
    assert label(service, (ids[0], "bag")).json()["data"][0]["status"] == "repeated"
    counts = report(service)["counts"]
    assert counts["current"] == {"answered": 3, "labelled": 2, "right": 1, "accuracy": 0.5}
    assert counts["candidate"] == {"answered": 3, "labelled": 2, "right": 1, "accuracy": 0.5}
    assert (counts["shadow"]["gained"], counts["shadow"]["lost"]) == (1, 1)
    assert counts["shadow"]["labelled_disagreed"] == 2
    (left,) = service.client.get(f"{TRIALS}/latest/to-label").json()["data"]
    assert left["prediction"] == ids[2]
    assert [(one["labels"], one["estimate"]) for one in report(service)["course"]] == [(2, 0.0)]


def test_a_shadow_that_fails_fails_no_answer(
    service: Service, oracle: Oracle, model: Model
) -> None:
    start(service, SHADOW)
    oracle.broken = {digest_of(service, 2)}
    answer = classify(service, images=2)
    assert settled(service, 2)["counts"]["shadow"]["failed"] == 2
    sent = label(service, *((row["prediction"], "boot") for row in answer["data"]))
    assert [row["status"] for row in sent.json()["data"]] == ["counted", "counted"]
    assert report(service)["counts"]["current"]["labelled"] == 0  # no pair


def test_a_canary_answers_its_routing_keys_and_each_arm_counts_for_itself(
    service: Service, oracle: Oracle, model: Model
) -> None:
    start(service, CANARY)
    keys: dict[str, list[str]] = {"current": [], "candidate": []}
    numbers = count()
    while min(map(len, keys.values())) < 2:
        key = f"caller-{next(numbers)}"
        answer = classify(service, **{"Perennial-Routing-Key": key})
        arm = answer["trial"]["arm"]
        version = {"current": 1, "candidate": 2}[arm]
        assert (answer["version"], answer["digest"]) == (version, digest_of(service, version))
        assert oracle.asked["digest"] == answer["digest"]
        keys[arm].append(key)
    before = report(service)["counts"]
    assert before["shadow"] is None
    for arm in keys:
        answer = classify(service, images=2, **{"Perennial-Routing-Key": keys[arm][1]})
        assert answer["trial"]["arm"] == arm
        ids = [row["prediction"] for row in answer["data"]]
        sent = label(service, (ids[0], "bag" if arm == "candidate" else "boot"), (ids[1], "boot"))
        assert [row["status"] for row in sent.json()["data"]] == ["counted", "same_caller"]
    after = report(service)["counts"]
    assert (after["current"]["labelled"], after["current"]["accuracy"]) == (1, 1)
    assert (after["candidate"]["labelled"], after["candidate"]["accuracy"]) == (1, 0)
    assert after["same_caller"] == 2
    for arm in keys:
        assert after[arm]["answered"] == before[arm]["answered"] + 2
    # what names a version or a digest does not take part
    headers, digest = {"Perennial-Routing-Key": keys["candidate"][0]}, digest_of(service, 1)
    for path, fields in (
        (CLASSIFY, {"expect_digest": digest}),
        ("/v1/models/demo:1/classify", {}),
        (f"/v1/models/demo@sha256:{digest}/classify", {}),
    ):
        asked = {"files": [image_part(1)], "data": TWO | fields, "headers": headers}
        answer = service.client.post(path, **asked).json()
        assert (answer["version"], answer["trial"]) == (1, None)
        assert answer["data"][0]["prediction"] is None


def test_a_promotion_ends_the_trial_and_late_labels_say_so(service: Service, model: Model) -> None:
    trial = start(service, SHADOW)
    (row,) = classify(service)["data"]
    service.services.trials.recorder.flush()
    moved = service.client.put(
        TRIALS.removesuffix("/trials"),
        json={"version": 2, "override": True, "reason": "stale suites"},
        headers={"If-Match": '"1"'},
    )
    assert moved.status_code == 200, moved.text
    ended = report(service, trial["id"])
    assert (ended["end"], ended["ended_by"]) == ("promoted", "admin")
    assert classify(service)["trial"] is None
    assert code_of(label(service, (row["prediction"], "boot"))) == (409, "trial_ended")
    unlabelled = service.client.get(f"{TRIALS}/latest/to-label")
    assert code_of(unlabelled) == (409, "trial_ended")
    again = service.client.post(f"{TRIALS}/latest/stop", json={})
    assert code_of(again) == (409, "trial_ended")
    (listed,) = service.client.get(TRIALS).json()["data"]
    assert listed == {name: ended[name] for name in listed}


def test_what_cannot_be_tried_or_labelled_is_refused_and_leaves_nothing(
    service: Service, model: Model
) -> None:
    a_candidate(service.platform, model, verdict=Verdict.FAILED)
    match = {"If-Match": '"1"'}
    for body, headers, refusal in (
        (CANARY, {}, (428, "precondition_required")),
        (CANARY, {"If-Match": '"2"'}, (412, "stale_revision")),
        (CANARY | {"share": 0.6}, match, (422, "field_invalid")),
        (CANARY | {"version": 9}, match, (404, "version_not_found")),
        (CANARY | {"version": 3}, match, (409, "gate_failed")),
    ):
        with service.untouched():
            assert code_of(service.client.post(TRIALS, json=body, headers=headers)) == refusal
    unknown = TRIALS.replace("production", "staging")
    assert code_of(service.client.post(unknown, json=CANARY, headers=match)) == (
        404,
        "alias_not_found",
    )
    for path in (f"{TRIALS}/latest", f"{TRIALS}/trial_0"):
        assert code_of(service.client.get(path)) == (404, "trial_not_found")
    with service.untouched():
        assert code_of(label(service, ("pred_0", "boot"))) == (404, "prediction_not_found")
        assert code_of(label(service, ("pred_0", "a"), ("pred_1", "b"))) == (422, "all_rejected")
        assert code_of(label(service)) == (422, "field_invalid")
    start(service, SHADOW | {"version": 3})  # a shadow's answers are seen by nobody
    running = service.client.post(TRIALS, json=CANARY, headers=match)
    assert code_of(running) == (409, "trial_running")


@pytest.mark.parametrize("settings", [{"max_trial_samples": 2}], indirect=True)
def test_images_about_which_versions_disagree_are_kept_if_the_setting_allows_it(
    service: Service, oracle: Oracle, model: Model
) -> None:
    trial = start(service, SHADOW)
    samples = f"{TRIALS}/latest/samples"
    classify(service)
    assert settled(service, 1)["counts"]["shadow"]["agreed"] == 1
    oracle.turned = {digest_of(service, 2): 1}
    answer = classify(service, images=4)
    assert settled(service, 5)["counts"]["shadow"]["disagreed"] == 4
    wait_for(lambda: report(service)["counts"]["shadow"]["sampled"] == 2, seconds=20)
    viewer, operator = service.key(Role.VIEWER), service.key(Role.OPERATOR)
    listed = service.client.get(samples, headers=viewer).json()["data"]
    assert len(listed) == 2
    predictions = {row["prediction"] for row in answer["data"]}
    for one in listed:
        assert (one["current"], one["candidate"]) == ("boot", "bag")
        assert one["prediction"] in predictions
        image = service.client.get(f"{samples}/{one['pixels']}", headers=viewer)
        assert image.headers["content-type"] == "image/webp"
        decoded = service.services.decoder.decode(image.content)
        assert (decoded.pixels, decoded.data) == (one["pixels"], image.content)
    page = service.client.get(samples, params={"limit": 1}).json()
    rest = service.client.get(samples, params={"after": page["next"]}).json()
    assert [*page["data"], *rest["data"]] == listed
    asked = service.client.get(f"{TRIALS}/latest/to-label", headers=viewer).json()["data"]
    kept = {one["prediction"]: one["pixels"] for one in listed}
    assert {one["prediction"]: one["pixels"] for one in asked if one["pixels"]} == kept
    unknown = samples.replace("latest", "trial_0")
    assert code_of(service.client.get(unknown)) == (404, "trial_not_found")
    assert code_of(service.client.get(f"{samples}/{'0' * 64}")) == (404, "image_not_found")
    gone = service.client.delete(f"{TRIALS}/{trial['id']}/samples", headers=operator)
    assert gone.status_code == 204
    assert service.client.get(samples).json()["data"] == []
    assert code_of(service.client.get(f"{samples}/{one['pixels']}")) == (404, "image_not_found")
    events = service.client.get("/v1/audit-events").json()["data"]
    assert "samples.deleted" in {event["action"] for event in events}
