"""The page of an alias's trials: what the labels say so far, and forms that start and stop one."""

from collections.abc import Callable, Mapping

from starlette.responses import RedirectResponse, Response

from api.dependencies import WiredServices
from api.http.answers import IfNoneMatch, image_answer, thumbnail_answer
from api.http.routing import PAGES, Routes
from api.pages.browsing import PageRoute
from api.pages.forms import (
    LONGEST_REASON,
    SentForm,
    Text,
    optional_reason_field,
    percent_field,
    whole_field,
)
from api.pages.rendering import PageRequest, tell_next
from api.trials.plots import course_plot, difference_plot
from api.trials.routes import Sample
from core.database.work import Work
from core.errors import FieldInvalid, PerennialError, TrialNotFound
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.trials.record import delete_samples, label_predictions
from core.trials.rows import Trials, TrialSamples
from core.trials.rules import LARGEST_SHARE, Arm, Trial, TrialMode, evidence_of, next_point
from core.trials.run import start_trial, stop_trial
from core.values import ModelId, PredictionId

router = Routes(prefix=f"{PAGES}/models/{{model}}", route_class=PageRoute, include_in_schema=False)

CANDIDATES, TRIALS = 60, 100  # newest versions to choose from; trials of the list
SAMPLES = 60  # that are shown
SAMPLES_PATH = "/aliases/{alias}/trials/{trial}/samples"

Fields = Mapping[str, str]


@router.get("/trial", Role.VIEWER)
def show_trial(model: str, asked: PageRequest, alias: Text = PRODUCTION) -> Response:
    """Show the trial of an alias that runs, or its newest one."""
    return _show(asked, model, alias)


@router.post("/trial/start", Role.OPERATOR)
def start(model: str, asked: PageRequest, fields: SentForm) -> Response:
    """Start a trial, if the alias is still where the form has shown it."""

    def begin() -> object:
        mode = _mode(fields)
        return start_trial(
            asked.platform,
            model=model,
            alias=fields.get("alias", ""),
            candidate=whole_field(fields, "candidate"),
            mode=mode,
            share=percent_field(fields, "share") if mode is TrialMode.CANARY else None,
            expected_revision=whole_field(fields, "revision"),
            reason=optional_reason_field(fields),
        )

    return _try(asked, model, fields, begin)


@router.post("/trial/stop", Role.OPERATOR)
def stop(model: str, asked: PageRequest, fields: SentForm) -> Response:
    """Stop a trial; the alias stays where it is."""

    def end() -> object:
        return stop_trial(
            asked.platform,
            model=model,
            alias=fields.get("alias", ""),
            trial=fields.get("trial", ""),
            reason=optional_reason_field(fields),
        )

    return _try(asked, model, fields, end)


@router.post("/trial/label", Role.CONTRIBUTOR)
def label(model: str, asked: PageRequest, fields: SentForm) -> Response:
    """Label the prediction of a sample."""

    def send() -> None:
        prediction = PredictionId(fields.get("prediction", ""))
        (receipt,) = label_predictions(asked.platform, [(prediction, fields.get("label", ""))])
        if receipt.refusal is not None:
            raise receipt.refusal

    return _try(asked, model, fields, send, then="#samples")


def _try(
    asked: PageRequest,
    model: str,
    fields: Fields,
    change: Callable[[], object],
    then: str = "",
) -> Response:
    """Return the way back to the page, or the page with why nothing was changed."""
    alias = fields.get("alias", "")
    try:
        change()
    except PerennialError as refusal:
        return _show(asked, model, alias, fields, refusal)
    return RedirectResponse(f"{PAGES}/models/{model}/trial?alias={alias}{then}", 303)


def _show(
    asked: PageRequest,
    model: str,
    alias: str,
    sent: Fields | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    platform = asked.platform
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        present = work[Aliases].find(found.id, alias)
        trials = work[Trials].page(found.id, alias, TRIALS, None)
        latest = _latest(work, found.id, alias)
        counts = work[Trials].counts([latest.id])[latest.id] if latest else None
        course = work[Trials].course([latest.id])[latest.id] if latest else ()
        samples = work[TrialSamples].to_show(latest.id, SAMPLES + 1) if latest else []
        newest = work[Versions].newest(found.id)
        start_at = max(0, newest.number - CANDIDATES) if newest else 0
        versions = work[Versions].page(found.id, CANDIDATES, start_at)
        aliases = [one.name for one in work[Aliases].all(found.id)]
    evidence = evidence_of(latest.mode, counts) if latest and counts else None
    if latest and counts:
        last = course[-1].labels if course else 0
        now = next_point(latest, counts, platform.clock(), last=last, growth=1.0)
        course = [*course, now] if now else course
    return asked.page(
        "administration/trial.html",
        model=found,
        alias=alias,
        aliases=aliases,
        present=present,
        trial=latest,
        counts=counts,
        accuracies=[counts.accuracy(latest.mode, arm) for arm in Arm] if latest and counts else (),
        evidence=evidence,
        course=course_plot(course) if len(course) > 1 else None,
        samples=samples[:SAMPLES],
        more_samples=len(samples) > SAMPLES,
        most_samples=platform.settings.max_trial_samples,
        plot=difference_plot(evidence) if evidence else None,
        earlier=[one for one in reversed(trials) if latest and one.id != latest.id],
        candidates=[
            one
            for one in reversed(versions)
            if present and one.number != present.version and not one.collected_at
        ],
        sent=sent or {},
        refusal=refusal,
        largest_share=round(100 * LARGEST_SHARE),
        longest=LONGEST_REASON,
    )


def _latest(work: Work, model: ModelId, alias: str) -> Trial | None:
    """Return the newest trial of an alias; one that runs is always the newest."""
    try:
        return work[Trials].find(model, alias, "latest")
    except TrialNotFound:
        return None


def _mode(fields: Fields) -> TrialMode:
    try:
        return TrialMode(fields.get("mode", ""))
    except ValueError as error:
        raise FieldInvalid("Choose shadow or canary.", pointer="/mode") from error


@router.get(SAMPLES_PATH + "/{pixels}", Role.VIEWER)
def get_sample(
    artifact: Sample, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a sample as it is stored."""
    return image_answer(services, artifact, if_none_match)


@router.get(SAMPLES_PATH + "/{pixels}/thumbnail", Role.VIEWER)
async def get_thumbnail(
    artifact: Sample, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a small WebP of a sample."""
    return await thumbnail_answer(services, artifact, if_none_match)


@router.post(SAMPLES_PATH + "/delete", Role.OPERATOR)
def delete(model: str, alias: str, trial: str, asked: PageRequest, _form: SentForm) -> Response:
    """Delete the samples of a trial."""
    delete_samples(asked.platform, model=model, alias=alias, trial=trial)
    then = RedirectResponse(f"{PAGES}/models/{model}/trial?alias={alias}", 303)
    return tell_next(asked, then, "The samples were deleted.")
