"""Predictions of trials: each counts once, whoever writes it, and however often."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import timedelta

from core.operations.maintenance import delete_expired
from core.principal import Principal, Role
from core.registry.versions import Model
from core.trials.record import Batch, ShadowAnswer, label_predictions, record_predictions
from core.trials.rows import Predictions, Trials
from core.trials.rules import Prediction, Shadowed, Trial, TrialCounts, TrialMode
from core.trials.run import stop_trial
from core.values import Digest, PredictionId
from tests.contract.trials.conftest import Start, put_clock
from tests.support.factories import a_prediction
from tests.support.scene import Scene


def counts_of(scene: Scene, trial: Trial) -> dict[str, int]:
    with scene.platform.transactions(read_only=True) as work:
        counts: TrialCounts = work[Trials].counts([trial.id])[trial.id]
    return {name: value for name, value in asdict(counts).items() if value}


def record(
    scene: Scene, trial: Trial, count: int = 0, *, callers: Sequence[Digest] = ()
) -> list[Prediction]:
    made = [
        a_prediction(trial=trial.id, mode=trial.mode, caller=caller, at=scene.platform.clock())
        for caller in callers or [None] * count
    ]
    record_predictions(scene.platform, Batch(predictions=made))
    return made


def kept(scene: Scene, found: Sequence[Prediction]) -> list[bool]:
    with scene.platform.transactions() as work:
        there = work[Predictions].lock([one.id for one in found])
    return [one.id in there for one in found]


def test_what_is_sent_twice_counts_once(scene: Scene, start: Start) -> None:
    trial = start()
    made = record(scene, trial, 3)
    asked = {
        made[0].id: ShadowAnswer(outcome=Shadowed.ANSWERED, answer="Boot"),
        made[1].id: ShadowAnswer(outcome=Shadowed.ANSWERED, answer="bag"),
        made[2].id: ShadowAnswer(outcome=Shadowed.DROPPED),
        PredictionId("pred_gone"): ShadowAnswer(outcome=Shadowed.FAILED),
    }
    labels = [(one.id, "bag") for one in made]
    outcomes = []
    for _ in range(2):
        record_predictions(scene.platform, Batch(predictions=made, shadows=asked))
        outcomes.append([str(one.outcome) for one in label_predictions(scene.platform, labels)])
    assert outcomes == [["counted"] * 3, ["repeated"] * 3]
    assert counts_of(scene, trial) == {
        "answered_current": 3,
        "answered_candidate": 2,
        "agreed": 1,
        "disagreed": 1,
        "dropped": 1,
        "labelled_current": 2,
        "labelled_candidate": 2,
        "labelled_disagreed": 1,
        "right_candidate": 1,
        "gained": 1,
    }


def test_what_is_to_be_labelled_are_disagreements_without_a_label_in_an_order_of_chance(
    scene: Scene, start: Start
) -> None:
    trial = start()
    made = record(scene, trial, 30)
    answers = ("bag", "Boot", None)  # of a third each; the live version says boot
    shadows = {
        one.id: ShadowAnswer(outcome=Shadowed.ANSWERED, answer=answer)
        for number, one in enumerate(made)
        if (answer := answers[number % 3])
    }
    record_predictions(scene.platform, Batch(shadows=shadows))

    def listed(limit: int = 100, after: str | None = None) -> list[Prediction]:
        with scene.platform.transactions(read_only=True) as work:
            return list(work[Predictions].to_label(trial.id, limit, after))

    found = listed()
    assert {one.id for one in found} == {one.id for one in made[::3]}
    ids = [one.id for one in found]
    assert ids != sorted(ids)
    assert listed(4) + listed(100, found[3].turn) == found
    label_predictions(scene.platform, [(found[0].id, "hat"), (found[5].id, "bag")])
    label_predictions(scene.platform, [(made[2].id, "bag")])  # before the candidate has answered
    waiting = {made[2].id: ShadowAnswer(outcome=Shadowed.ANSWERED, answer="bag")}
    record_predictions(scene.platform, Batch(shadows=waiting))
    assert [one.id for one in listed()] == [*ids[1:5], *ids[6:]]  # the others keep their places


def test_processes_that_write_at_once_lose_and_repeat_nothing(scene: Scene, start: Start) -> None:
    trial = start()
    made = record(scene, trial, 40)
    labels = [(one.id, "boot") for one in made]
    shadows = {one.id: ShadowAnswer(outcome=Shadowed.ANSWERED, answer="bag") for one in made}
    with ThreadPoolExecutor(4) as processes:
        work = [processes.submit(label_predictions, scene.platform, labels[::-1]) for _ in "12"]
        batch = Batch(predictions=made, shadows=shadows)
        asked = [processes.submit(record_predictions, scene.platform, batch) for _ in "12"]
        sent = [str(one.outcome) for done in work for one in done.result()]
        assert [done.result() for done in asked] == [None, None]
    assert sent.count("repeated") == 40
    assert counts_of(scene, trial) == {
        "answered_current": 40,
        "answered_candidate": 40,
        "disagreed": 40,
        "labelled_current": 40,
        "labelled_candidate": 40,
        "labelled_disagreed": 40,
        "right_current": 40,
        "lost": 40,
    }


def test_labels_that_are_refused_leave_the_others_and_nothing_behind(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start(TrialMode.CANARY)
    made = record(scene, trial, 3)
    labels = [
        (made[0].id, "Boot"),
        (made[0].id, "bag"),
        (made[1].id, "a\x00b"),
        (PredictionId("pred_unknown"), "boot"),
        (made[2].id, "hat"),
    ]
    receipts = label_predictions(scene.platform, labels)
    assert [one.refusal.code if one.refusal else str(one.outcome) for one in receipts] == [
        "counted",
        "prediction_labelled",
        "class_invalid",
        "prediction_not_found",
        "counted",
    ]
    wanted = {"answered_current": 3, "labelled_current": 2, "right_current": 1}
    assert counts_of(scene, trial) == wanted
    foreign = Principal(name="other", role=Role.CONTRIBUTOR, models=frozenset())
    (refused,) = label_predictions(scene.platform.on_behalf_of(foreign), [(made[1].id, "boot")])
    assert refused.refusal is not None
    assert refused.refusal.code == "prediction_not_found"
    stop_trial(scene.platform, model=model.name, alias="production", trial=trial.id)
    (late,) = label_predictions(scene.platform, [(made[1].id, "boot")])
    assert late.refusal is not None
    assert late.refusal.code == "trial_ended"
    assert counts_of(scene, trial) == wanted


def test_of_each_caller_of_a_canary_one_label_counts(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start(TrialMode.CANARY)
    callers = [trial.caller_of(key) for key in ("one", "one", "two", "two")]
    made = record(scene, trial, callers=callers)
    labels = [(one.id, "boot") for one in made]
    for outcomes in (["counted", "same_caller"] * 2, ["repeated"] * 4):
        receipts = label_predictions(scene.platform, labels)
        assert [str(one.outcome) for one in receipts] == outcomes
    wanted = {
        "answered_current": 4,
        "labelled_current": 2,
        "right_current": 2,
        "same_caller": 2,
    }
    assert counts_of(scene, trial) == wanted
    stop_trial(scene.platform, model=model.name, alias="production", trial=trial.id)
    delete_expired(scene.platform)
    with scene.platform.transactions() as work:
        assert len(work[Predictions].first_labels({(trial.id, callers[0])})) == 1  # forgotten


def test_of_labels_of_a_caller_that_are_sent_at_once_one_counts(scene: Scene, start: Start) -> None:
    trial = start(TrialMode.CANARY)
    callers = [trial.caller_of(f"caller {number % 5}") for number in range(20)]
    made = record(scene, trial, callers=callers)
    with ThreadPoolExecutor(4) as processes:
        sent = processes.map(
            lambda one: label_predictions(scene.platform, [(one.id, "boot")]), made
        )
        outcomes = [str(receipt.outcome) for receipts in sent for receipt in receipts]
    assert (outcomes.count("counted"), outcomes.count("same_caller")) == (5, 15)
    counts = counts_of(scene, trial)
    assert (counts["labelled_current"], counts["same_caller"]) == (5, 15)


def test_predictions_are_kept_up_to_a_number_and_an_age_and_while_the_trial_runs(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start()
    few = scene.platform.settings.model_copy(
        update={"max_trial_predictions": 2, "max_trial_hours": 1.0}
    )
    scene.platform = replace(scene.platform, settings=few)
    made = [one for _ in range(4) for one in record(scene, trial, 1)]
    assert kept(scene, made) == [False, False, True, True]  # at once, not some batches later
    put_clock(scene, scene.platform.clock() + timedelta(minutes=61))
    made = made[2:] + record(scene, trial, 1)
    delete_expired(scene.platform)
    assert kept(scene, made) == [False, False, True]
    stop_trial(scene.platform, model=model.name, alias="production", trial=trial.id)
    record(scene, trial, 1)
    delete_expired(scene.platform)
    assert kept(scene, made) == [False, False, False]
    assert counts_of(scene, trial) == {"answered_current": 5}


def test_counts_stay_as_they_were_when_the_trial_ended(
    scene: Scene, model: Model, start: Start
) -> None:
    trial = start()
    made = record(scene, trial, 40)

    def write(one: Prediction) -> None:
        shadows = {one.id: ShadowAnswer(outcome=Shadowed.ANSWERED, answer="bag")}
        record_predictions(scene.platform, Batch(shadows=shadows))
        label_predictions(scene.platform, [(one.id, "boot")])

    with ThreadPoolExecutor(4) as processes:
        writing = [processes.submit(write, one) for one in made[:-1]]
        writing[0].result()
        stop_trial(scene.platform, model=model.name, alias="production", trial=trial.id)
        ended = counts_of(scene, trial)
        for done in writing:
            done.result()
    write(made[-1])
    assert counts_of(scene, trial) == ended
