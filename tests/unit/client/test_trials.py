"""Trials through the client: started, labelled, shown and stopped."""

import uuid

import pytest

from core.gate.rules import Verdict
from core.trials.rows import Predictions
from perennial.errors import ServiceError
from tests.support.api.seeds import a_candidate, a_root, a_sample
from tests.support.api.served import Served
from tests.support.factories import a_prediction


@pytest.fixture
def model(served: Served) -> str:
    """A model of the test's own: version 1 is live, 2 has passed."""
    made = a_root(served.platform, f"m-{uuid.uuid4().hex}")
    a_candidate(served.platform, made, verdict=Verdict.PASSED)
    return made.name


def test_a_trial_is_started_shown_and_stopped(served: Served, model: str) -> None:
    trials = served.client.trials
    with pytest.raises(ServiceError, match="412 stale_revision"):
        trials.start(model, 2, mode="shadow", expected_revision=7)
    started = trials.start(model, 2, mode="canary", share=0.25, reason="is it better?")
    assert (started["candidate"], started["share"], started["end"]) == (2, 0.25, None)
    report = trials.get(model)
    assert (report["id"], report["verdict"]) == (started["id"], "undecided")
    stopped = trials.stop(model, started["id"], reason="enough")
    assert stopped["end"] == "stopped"
    assert list(trials.list(model)) == [stopped]


def test_labels_are_sent_in_parts_and_each_gets_a_receipt(
    served: Served, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perennial.resources.serving.LABELS_AT_ONCE", 2)
    trial = served.client.trials.start(model, 2, mode="canary", share=0.5)
    with served.platform.transactions() as work:
        made = [a_prediction(id=f"pred_{uuid.uuid4().hex}", trial=trial["id"]) for _ in range(3)]
        work[Predictions].add(made)
        work.commit()
    labels = [(one.id, "boot") for one in made]
    receipts = served.client.trials.label([*labels[:2], labels[2], ("pred_0", "boot")])
    codes = [one["status"] or (one["error"] or {})["code"] for one in receipts]
    assert codes == ["counted", "counted", "counted", "prediction_not_found"]
    with pytest.raises(ServiceError, match="404 prediction_not_found"):
        served.client.trials.label([("pred_0", "boot")])


def test_samples_are_listed_read_and_deleted(served: Served, model: str) -> None:
    trials = served.client.trials
    trial = trials.start(model, 2, mode="shadow")
    a_sample(served.platform, trial["id"])
    (found,) = trials.samples(model)
    assert (found["current"], found["candidate"]) == ("boot", "bag")
    assert trials.read_sample(model, found["pixels"], trial["id"]) == b"RIFF"
    trials.delete_samples(model)
    assert list(trials.samples(model)) == []
