"""Routes of trials, of labels that are sent back, and of samples of what the versions answered."""

from functools import partial
from typing import Annotated

from fastapi import Depends, Response

from api.datasets.schemas import Pixels
from api.dependencies import WiredServices
from api.http.answers import IfMatch, IfNoneMatch, expected_revision, image_answer
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, Limit, Page, page_of
from api.openapi_document import stored_images
from api.trials import schemas
from core import errors
from core.platform import Platform
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.rows import Models
from core.trials.record import delete_samples, label_predictions, sample_form
from core.trials.rows import Predictions, Trials, TrialSamples
from core.trials.rules import Prediction
from core.trials.run import start_trial, stop_trial
from core.values import Digest, PredictionId

router = Routes(tags=["trials"], route_class=ThreadRoute)

TRIALS = "/v1/models/{model}/aliases/{alias}/trials"
SAMPLES = f"{TRIALS}/{{trial}}/samples"


_UNKNOWN_ALIAS = (errors.ModelNotFound, errors.AliasNotFound)
_UNKNOWN_TRIAL = (errors.ModelNotFound, errors.TrialNotFound)


@router.post(
    TRIALS,
    Role.OPERATOR,
    *_UNKNOWN_ALIAS,
    errors.VersionNotFound,
    errors.TrialRunning,
    errors.GateFailed,
    errors.EvaluationPending,
    errors.EvaluationStale,
    errors.LearnedErasedImages,
    errors.ArtifactGone,
    errors.NotServable,
    errors.StaleRevision,
    errors.PreconditionRequired,
    status_code=201,
)
def begin_trial(
    model: str,
    alias: str,
    body: schemas.NewTrial,
    services: WiredServices,
    response: Response,
    if_match: IfMatch = None,
) -> schemas.TrialView:
    """Start a trial of a version beside the one that an alias points at.

    If-Match is the ETag of the alias: the trial compares with the version that the caller has
    seen there.
    """
    trial = start_trial(
        services.platform,
        model=model,
        alias=alias,
        candidate=body.version,
        mode=body.mode,
        share=body.share,
        expected_revision=expected_revision(
            if_match, None, partial(_present_revision, services.platform, model, alias)
        ),
        reason=body.reason,
    )
    response.headers["Location"] = f"{TRIALS.format(model=model, alias=alias)}/{trial.id}"
    return schemas.TrialView.of(trial, model=_name(services.platform, model))


@router.get(TRIALS, Role.VIEWER, errors.ModelNotFound)
def list_trials(
    model: str, alias: str, services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[schemas.TrialView]:
    """List the trials of an alias, oldest first, also after it was deleted."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        rows = work[Trials].page(found.id, alias, limit + 1, after)
    show = partial(schemas.TrialView.of, model=found.name)
    return page_of(rows, limit, show, lambda row: row.id)


@router.get(f"{TRIALS}/{{trial}}", Role.VIEWER, *_UNKNOWN_TRIAL)
def get_trial(model: str, alias: str, trial: str, services: WiredServices) -> schemas.TrialReport:
    """Return what a trial's answers and labels say so far; `latest` is the newest trial."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Trials].find(found.id, alias, trial)
        counts = work[Trials].counts([wanted.id])[wanted.id]
        course = work[Trials].course([wanted.id])[wanted.id]
    return schemas.trial_report(wanted, counts, course, model=found.name)


@router.post(f"{TRIALS}/{{trial}}/stop", Role.OPERATOR, *_UNKNOWN_TRIAL, errors.TrialEnded)
def end_trial(
    model: str, alias: str, trial: str, body: schemas.StopTrial, services: WiredServices
) -> schemas.TrialView:
    """Stop a trial: the alias points where it did; `latest` is the newest trial."""
    ended = stop_trial(services.platform, model=model, alias=alias, trial=trial, reason=body.reason)
    return schemas.TrialView.of(ended, model=_name(services.platform, model))


@router.post(
    "/v1/feedback",
    Role.CONTRIBUTOR,
    errors.PredictionNotFound,
    errors.PredictionLabelled,
    errors.TrialEnded,
    errors.ClassInvalid,
    errors.AllRejected,
)
def send_feedback(body: schemas.Feedback, services: WiredServices) -> schemas.FeedbackView:
    """Label predictions made during trials with the classes that are right; each counts once.

    The first label of a prediction counts. Labels that are refused leave the others as they are; if
    all are, the reply is an error.
    """
    services.trials.recorder.flush()
    labels = [(PredictionId(one.prediction), one.label) for one in body.labels]
    receipts = label_predictions(services.platform, labels)
    refusals = [one.refusal for one in receipts if one.refusal is not None]
    view = schemas.FeedbackView(data=[schemas.LabelReceipt.of(one) for one in receipts])
    if len(refusals) < len(receipts):
        return view
    if len(refusals) == 1:
        raise refusals[0]
    raise errors.AllRejected(
        "No label was accepted.",
        labels=[one.model_dump(mode="json", exclude={"status"}) for one in view.data],
    )


def _present_revision(platform: Platform, model: str, alias: str) -> int:
    with platform.transactions(read_only=True) as work:
        return work[Aliases].get(work[Models].get(model).id, alias).revision


def _name(platform: Platform, reference: str) -> str:
    with platform.transactions(read_only=True) as work:
        return work[Models].get(reference).name


@router.get(f"{TRIALS}/{{trial}}/to-label", Role.VIEWER, *_UNKNOWN_TRIAL, errors.TrialEnded)
def list_to_label(
    model: str,
    alias: str,
    trial: str,
    services: WiredServices,
    limit: Limit = 50,
    after: After = None,
) -> Page[schemas.ToLabel]:
    """List the disagreements of a shadow that have no label yet.

    The order is random and fixed, so that the first ones are a random draw: label them in this
    order, and leave none out because of its answers.
    """
    with services.platform.transactions(read_only=True) as work:
        found = work[Trials].find(work[Models].get(model).id, alias, trial)
        found.require_running()
        rows = work[Predictions].to_label(found.id, limit + 1, after)
        kept = work[TrialSamples].pixels_of(found.id, [row.id for row in rows])

    def show(row: Prediction) -> schemas.ToLabel:
        return schemas.ToLabel.of(row, prediction=row.id, pixels=kept.get(row.id))

    return page_of(rows, limit, show, lambda row: row.turn)


@router.get(SAMPLES, Role.VIEWER, *_UNKNOWN_TRIAL)
def list_samples(
    model: str,
    alias: str,
    trial: str,
    services: WiredServices,
    limit: Limit = 50,
    after: After = None,
) -> Page[schemas.SampleView]:
    """List the samples of a trial, ordered by the digest of their pixels.

    They are images about which the two versions of a shadow disagree; by default none are kept.
    """
    last = Digest(after) if after else None
    with services.platform.transactions(read_only=True) as work:
        found = work[Trials].find(work[Models].get(model).id, alias, trial)
        rows = work[TrialSamples].page(found.id, limit + 1, last)
    return page_of(rows, limit, schemas.SampleView.of, lambda row: row.pixels)


def _sample(model: str, alias: str, trial: str, pixels: Pixels, services: WiredServices) -> Digest:
    """Return the artifact of a sample. Raises ImageNotFound."""
    return sample_form(
        services.platform, model=model, alias=alias, trial=trial, pixels=Digest(pixels)
    )


Sample = Annotated[Digest, Depends(_sample)]


@router.get(
    SAMPLES + "/{pixels}",
    Role.VIEWER,
    responses=stored_images(*_UNKNOWN_TRIAL),
    response_class=Response,
)
def get_sample(
    artifact: Sample, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a sample as it is stored: decoded, without metadata, as a lossless WebP."""
    return image_answer(services, artifact, if_none_match)


@router.delete(SAMPLES, Role.OPERATOR, *_UNKNOWN_TRIAL, status_code=204)
def remove_samples(model: str, alias: str, trial: str, services: WiredServices) -> None:
    """Delete the samples of a trial, which makes no room for others; its counts stay."""
    delete_samples(services.platform, model=model, alias=alias, trial=trial)
