"""Routes of trials: start, list, show, stop; and of the labels that are sent back."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Response

from api.dependencies import WiredServices
from api.http.preconditions import expected_revision
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import After, Limit, Page, page_of
from api.schemas.trials import (
    Feedback,
    FeedbackView,
    LabelReceipt,
    NewTrial,
    StopTrial,
    TrialReport,
    TrialView,
)
from core import errors
from core.domain.access.roles import Role
from core.domain.values import PredictionId
from core.ports import Platform
from core.use_cases.registry.aliases.start_trial import start_trial
from core.use_cases.trials.end_trial import stop_trial
from core.use_cases.trials.label_predictions import label_predictions

router = APIRouter(tags=["trials"], route_class=ThreadRoute)

TRIALS = "/v1/models/{model}/aliases/{alias}/trials"
IfMatch = Annotated[str | None, Header(alias="If-Match", examples=['"2"'])]
_UNKNOWN = (errors.ModelNotFound, errors.AliasNotFound)
_UNKNOWN_TRIAL = (errors.ModelNotFound, errors.TrialNotFound)


@router.post(
    TRIALS,
    status_code=201,
    responses=raises(
        *_UNKNOWN,
        errors.VersionNotFound,
        errors.TrialRunning,
        errors.GateFailed,
        errors.EvaluationPending,
        errors.LearnedErasedImages,
        errors.ArtifactGone,
        errors.NotServable,
        errors.StaleRevision,
        errors.PreconditionRequired,
    ),
    openapi_extra=needs(Role.OPERATOR),
)
def begin_trial(
    model: str,
    alias: str,
    body: NewTrial,
    services: WiredServices,
    response: Response,
    if_match: IfMatch = None,
) -> TrialView:
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
    return TrialView.of(trial, model=_name(services.platform, model))


@router.get(TRIALS, responses=raises(errors.ModelNotFound), openapi_extra=needs(Role.VIEWER))
def list_trials(
    model: str, alias: str, services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[TrialView]:
    """List the trials of an alias, oldest first, also after it was deleted."""
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        rows = work.trials.page(found.id, alias, limit + 1, after)
    show = partial(TrialView.of, model=found.name)
    return page_of(rows, limit, show, lambda row: row.id)


@router.get(
    f"{TRIALS}/{{trial}}", responses=raises(*_UNKNOWN_TRIAL), openapi_extra=needs(Role.VIEWER)
)
def get_trial(model: str, alias: str, trial: str, services: WiredServices) -> TrialReport:
    """Return what a trial's answers and labels say so far; `latest` is the newest trial."""
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        wanted = work.trials.find(found.id, alias, trial)
        counts = work.trials.counts([wanted.id])[wanted.id]
        course = work.trials.course([wanted.id])[wanted.id]
    return TrialReport.with_counts(wanted, counts, course, model=found.name)


@router.post(
    f"{TRIALS}/{{trial}}/stop",
    responses=raises(*_UNKNOWN_TRIAL, errors.TrialEnded),
    openapi_extra=needs(Role.OPERATOR),
)
def end_trial(
    model: str, alias: str, trial: str, body: StopTrial, services: WiredServices
) -> TrialView:
    """Stop a trial: the alias points where it did; `latest` is the newest trial."""
    ended = stop_trial(services.platform, model=model, alias=alias, trial=trial, reason=body.reason)
    return TrialView.of(ended, model=_name(services.platform, model))


@router.post(
    "/v1/feedback",
    responses=raises(
        errors.PredictionNotFound,
        errors.PredictionLabelled,
        errors.TrialEnded,
        errors.ClassInvalid,
        errors.AllRejected,
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def send_feedback(body: Feedback, services: WiredServices) -> FeedbackView:
    """Label predictions made during trials with the classes that are right; each counts once.

    The first label of a prediction counts. Labels that are refused leave the others as they are; if
    all are, the reply is an error.
    """
    services.trials.recorder.flush()
    labels = [(PredictionId(one.prediction), one.label) for one in body.labels]
    receipts = label_predictions(services.platform, labels)
    refusals = [one.refusal for one in receipts if one.refusal is not None]
    view = FeedbackView(data=[LabelReceipt.of(one) for one in receipts])
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
        return work.aliases.get(work.models.get(model).id, alias).revision


def _name(platform: Platform, reference: str) -> str:
    with platform.transactions(read_only=True) as work:
        return work.models.get(reference).name
