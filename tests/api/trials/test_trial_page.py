"""The page of a trial: what it says, and forms that start and stop one."""

import re

import pytest

from core.gate.rules import Verdict
from core.registry.versions import Model
from core.trials.record import Batch, ShadowAnswer, record_predictions
from core.trials.rows import Trials
from core.trials.rules import CoursePoint, Shadowed
from tests.support.api.browsing import Browser, Marks
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate, a_root, a_sample
from tests.support.api.service import Service
from tests.support.factories import a_prediction

HERE = "/ui/models/tried/trial"

SCRIPT = "<script>alert(5)</script>"

SHADOW = {"alias": "production", "candidate": "2", "mode": "shadow", "share": ""}


@pytest.fixture(scope="module")
def model(shared_service: Service) -> Model:
    """A model with candidates: 2 is inconclusive, 3 has failed."""
    made = a_root(shared_service.platform, "tried")
    a_candidate(shared_service.platform, made, verdict=Verdict.INCONCLUSIVE)
    a_candidate(shared_service.platform, made, verdict=Verdict.FAILED)
    return made


def revision(browser: Browser) -> str:
    found = re.search(r'name="revision" value="(\d+)"', browser.get(HERE).text)
    assert found
    return found[1]


def counted(service: Service, **counts: int) -> None:
    """Add to the counts of the running trial, as predictions and their labels do."""
    with service.platform.transactions() as work:
        (trial,) = work[Trials].running()
        work[Trials].count(trial.id, counts)
        work.commit()


def noted(service: Service, **values: float) -> None:
    """Add a point to the course of the running trial."""
    with service.platform.transactions() as work:
        (trial,) = work[Trials].running()
        point = CoursePoint(trial=trial.id, at=service.platform.clock(), **values)  # type: ignore[arg-type]
        work[Trials].note_course([point])
        work.commit()


def test_a_trial_starts_counts_and_stops(
    shared_service: Service, model: Model, operator: Browser, viewer: Browser
) -> None:
    begun = operator.send(f"{HERE}/start", **SHADOW, revision=revision(operator), reason=SCRIPT)
    assert begun.headers["location"] == f"{HERE}?alias=production"
    running = viewer.get(HERE).text
    assert "Running: version 2 as a shadow beside version 1" in running
    assert SCRIPT not in running
    assert f'action="{HERE}/stop"' not in running
    counted(shared_service, answered_current=120, answered_candidate=120, agreed=98, disagreed=22)
    unlabelled = viewer.get(HERE).text
    assert "disagreed on 18.3 % of the images, so their accuracies differ by at most" in unlabelled
    assert "perennial trial to-label tried --output labels.csv" in unlabelled
    counted(shared_service, labelled_current=3, labelled_candidate=3, labelled_disagreed=3)
    counted(shared_service, right_current=1, right_candidate=2, gained=2, lost=1)
    noted(shared_service, labels=2, estimate=0.5, lower=-0.9, upper=1.0)
    undecided = viewer.get(HERE).text
    assert "Difference in accuracy from +50.0 points (−90.0 to +100.0) by 2 labels" in undecided
    assert "Not decided yet" in undecided
    counted(shared_service, labelled_current=19, labelled_candidate=19, labelled_disagreed=19)
    assert '<td class="n">1 of 3</td><td class="n">–</td>' in undecided  # accuracy
    counted(shared_service, right_candidate=19, gained=19)
    sampled(shared_service, viewer, operator)
    better = viewer.get(HERE).text
    assert "Version 2 is better" in better
    assert "by +17.4 points" in better
    trial = re.search(r'name="trial" value="(trial_\w+)"', operator.get(HERE).text)
    assert trial
    fields = {"alias": "production", "trial": trial[1]}
    assert operator.send(f"{HERE}/stop", **fields, reason="seen enough").status_code == 303
    ended = viewer.get(HERE).text
    assert "Ended: version 2" in ended
    assert "it was stopped" in ended
    late = operator.send(f"{HERE}/stop", **fields, reason="again")
    assert (late.status_code, "trial_ended" in late.text) == (409, True)


def sampled(service: Service, viewer: Browser, operator: Browser) -> None:
    """Show a sample with both answers, and delete it."""
    image = service.services.decoder.decode(picture(1))
    with service.platform.transactions(read_only=True) as work:
        (trial,) = work[Trials].running()
    kept = a_sample(service.platform, trial.id, image.data, SCRIPT)
    made = a_prediction(id=kept.prediction, trial=trial.id, mode=trial.mode, answer="boot")
    bag = ShadowAnswer(outcome=Shadowed.ANSWERED, answer="bag")
    batch = Batch(predictions=[made], shadows={made.id: bag})
    record_predictions(service.platform, batch)
    labelled_on_the_page(kept.prediction, viewer, operator)
    shown = viewer.get(HERE).text
    assert "Where they disagree" in shown
    assert (SCRIPT in shown, "Delete these images" in shown) == (False, False)
    images = [src for tag, attrs in Marks(shown).tags if tag == "img" and (src := attrs["src"])]
    (thumbnail,) = [src for src in images if "samples" in src]
    for path in (thumbnail, thumbnail.removesuffix("/thumbnail")):
        assert viewer.get(path).headers["content-type"] == "image/webp"
    kept = thumbnail.rsplit("/", 2)[0]
    assert viewer.send(f"{kept}/delete").status_code == 403
    gone = operator.send(f"{kept}/delete").headers
    assert gone["location"] == f"{HERE}?alias=production"
    told = operator.get(gone["location"], cookie=gone["set-cookie"].split(";")[0]).text
    assert "The samples were deleted." in told
    assert "Where they disagree" not in viewer.get(HERE).text
    assert viewer.get(thumbnail).status_code == 404


def labelled_on_the_page(prediction: str, viewer: Browser, contributor: Browser) -> None:
    """Label a sample, once, by those who may."""
    fields = {"alias": "production", "prediction": prediction}
    offered = f'name="prediction" value="{prediction}"'
    assert offered in contributor.get(HERE).text
    assert offered not in viewer.get(HERE).text
    assert viewer.send(f"{HERE}/label", **fields, label="bag").status_code == 403
    sent = contributor.send(f"{HERE}/label", **fields, label="bag")
    assert sent.headers["location"] == f"{HERE}?alias=production#samples"
    shown = contributor.get(HERE).text
    assert (offered in shown, "label: bag" in shown) == (False, True)
    for wrong, label, status, code in (
        (fields, "hat", 409, "prediction_labelled"),
        (fields | {"prediction": "pred_0"}, "hat", 404, "prediction_not_found"),
        (fields, "", 422, "class_invalid"),
    ):
        answer = contributor.send(f"{HERE}/label", **wrong, label=label)
        assert (answer.status_code, code in answer.text) == (status, True)


def test_what_cannot_be_tried_is_refused_beside_the_form(
    shared_service: Service, model: Model, operator: Browser
) -> None:
    present = SHADOW | {"revision": revision(operator)}
    canary = present | {"mode": "canary", "share": "10"}
    wrong = [
        (present | {"mode": "blue"}, 422, "Choose shadow or canary"),
        (present | {"candidate": "x"}, 422, "whole number"),
        (present | {"revision": "7"}, 412, "stale_revision"),
        (canary | {"share": "some"}, 422, "percentage"),
        (canary | {"candidate": "3"}, 409, "gate_failed"),
    ]
    with shared_service.untouched():
        for fields, status, words in wrong:
            answer = operator.send(f"{HERE}/start", **fields, reason="try")
            assert (answer.status_code, words in answer.text) == (status, True), fields
