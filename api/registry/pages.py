"""Pages of models: the overview, a model, a version, its report, and forms of versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.dependencies import CurrentPrincipal, WiredServices, job_request
from api.http.routing import PAGES, Routes
from api.http.schemas import After, Number, VersionNumber
from api.pages import plots
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, choice_field, fresh_key, names_field, sent_key, short_field
from api.pages.rendering import PageRequest
from api.registry.plots import LinedVersion, alias_plot, line_plot, summary_of
from api.registry.report_pages import (
    gains,
    guarded,
    headline,
    labels_wanted,
    render_report,
    style_policy,
)
from api.registry.report_record import record_of
from api.registry.schemas import ReportJob, verdict_view
from core.bases.bases import BUNDLED
from core.bases.create_model import create_model
from core.database.work import Work
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, DatasetRef
from core.datasets.version_rows import Suites
from core.engines.rows import EngineChecks
from core.erasure.live import live_marks
from core.errors import PerennialError
from core.evaluation.order import order_evaluation
from core.evaluation.report import Report
from core.evaluation.rows import Evaluations
from core.gate.kinds import SUITES, MeasureKind, Outcome
from core.gate.rows import Policies
from core.gate.rules import Verdict
from core.jobs.orders import ConvertOrder
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.platform import Platform
from core.principal import Principal, Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION, AliasMove
from core.registry.promotable import role_in_spite_of
from core.registry.promote import can_go_back, expected_refusal, find_rollback_target
from core.registry.read import added_to_line, read_report, report_digest
from core.registry.requirements import promotion_requirements
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model, ServingPrecision, Version
from core.training.convert import order_conversion

router = Routes(prefix=PAGES, route_class=PageRoute, include_in_schema=False)

MODELS = 25  # of a page
CHOICES = 100  # suites and policies to choose from; datasets to teach
VERSIONS = 30  # of a page
HISTORY = 12  # newest moves of an alias
JOBS = 5  # newest
LONGEST_BASE = 500  # characters
CLASSES = 40  # of a version

Before = Annotated[Number | None, Query()]


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """A model with its live version and its newest one."""

    model: Model
    live: AliasMove | None  # the last move of `production`
    live_version: Version | None
    others: tuple[AliasMove, ...]  # the last moves of other aliases
    newest: Version | None

    @property
    def is_root_alone(self) -> bool:
        """True if the model has learned nothing yet."""
        return self.newest is None or self.newest.is_root

    @property
    def waits(self) -> bool:
        """True if the newest version is neither live nor rejected: somebody may promote it."""
        live = self.live.to_version if self.live else None
        return self.newest is not None and self.newest.number != live


@router.get("", Role.VIEWER)
def show_overview(asked: PageRequest, after: After = None) -> Response:
    """Show the models, and the jobs that run now."""
    return _overview(asked, after=after)


@router.post("/models", Role.OPERATOR)
def make_model(asked: PageRequest, principal: CurrentPrincipal, fields: SentForm) -> Response:
    """Make a model and show the job that imports it; a form that is sent twice makes one."""
    try:
        job = create_model(
            asked.platform,
            asked.services.notifier,
            job_request(asked.request, principal, *sent_key(fields)),
            name=fields.get("name", ""),
            base=short_field(fields, "base", LONGEST_BASE) or BUNDLED,
            suites=tuple(names_field(fields, "suites")),
            policy=fields.get("policy") or "default",
        )
    except PerennialError as refusal:
        return _overview(asked, fields=fields, refusal=refusal)
    return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)


def _overview(
    asked: PageRequest,
    *,
    after: str | None = None,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    with asked.platform.transactions(read_only=True) as work:
        models = work[Models].page(MODELS + 1, after)
        rows = _rows(work, models[:MODELS])
        marks = live_marks(work, models[:MODELS])
        running = work[Jobs].named_page(JOBS, None, status=JobStatus.RUNNING)
        queued = work[Jobs].named_page(JOBS, None, status=JobStatus.QUEUED)
        suites = [one.name for one in work[Suites].page(CHOICES, None) if one.retired_at is None]
        policies = [policy.name for policy in work[Policies].page(CHOICES, None)]
    more = len(models) > MODELS
    return asked.page(
        "overview.html",
        rows=rows,
        marks=marks,
        fresh=after is None and not more and all(row.is_root_alone for row in rows),
        first=after is None,
        next=rows[-1].model.id if more else None,
        jobs=[*running, *queued][:JOBS],
        suites=suites,
        policies=policies,
        fields=fields or {},
        key=fresh_key(),
        refusal=refusal,
    )


def _rows(work: Work, models: Sequence[Model]) -> list[ModelRow]:
    moves = work[Aliases].last_moves(*(model.id for model in models))
    return [
        _row(work, model, [move for move in moves if move.model == model.id]) for model in models
    ]


def _row(work: Work, model: Model, moves: list[AliasMove]) -> ModelRow:
    live = next((move for move in moves if move.alias == PRODUCTION), None)
    number = live.to_version if live else None
    return ModelRow(
        model=model,
        live=live,
        live_version=work[Versions].get(model.id, number) if number else None,
        others=tuple(move for move in moves if move.alias != PRODUCTION),
        newest=work[Versions].newest(model.id),
    )


@router.get("/models/{model}", Role.VIEWER)
def show_model(
    model: str,
    asked: PageRequest,
    before: Before = None,
    moved: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show a model; with `before`, versions older than it; `moved` names an alias just moved."""
    platform = asked.platform
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        versions = _versions(work, found, before)
        moves = work[Aliases].last_moves(found.id)
        history = work[Aliases].newest_moves(found.id, PRODUCTION, HISTORY)
        back = can_go_back(work, found.id, history)
        suites = work[Suites].names(set(found.suites))
        policy = work[Policies].get(found.policy)
        jobs = work[Jobs].named_page(JOBS, None, model=found.id)
        marks = live_marks(work, [found])
        teachers = work[Versions].teachers(found.id)
        datasets = work[Datasets].page(CHOICES, None)
        frozen = work[Datasets].newest_versions([one.id for one in datasets])
        kept = work[Suites].sources()
    rows = [
        LinedVersion(
            version=version,
            summary=summary_of(platform.artifacts, version),
            aliases=[move.alias for move in moves if move.to_version == version.number],
        )
        for version in versions
    ]
    return asked.page(
        "model.html",
        model=found,
        marks=marks,
        rows=rows[::-1],
        measure_title=plots.measure_title,
        line=line_plot(rows, f"{PAGES}/models/{found.name}/versions/") if rows else None,
        older=versions[0].number if versions and versions[0].number > 1 else None,
        newest=before is None,
        moves=moves,
        moved=moved,
        back=back,
        history=history[::-1],
        stairs=alias_plot(history) if len(history) > 1 else None,
        suites=[suites[suite] for suite in found.suites],
        policy=policy,
        jobs=jobs,
        lessons=[
            (
                one.name,
                frozen[one.id][0],
                teachers.get(DatasetRef(dataset=one.id, version=frozen[one.id][0].number)),
            )
            for one in datasets
            if one.kind is not DatasetKind.UNLABELLED
            and one.id in frozen
            and frozen[one.id][0].manifest not in kept
        ],
    )


def _versions(work: Work, model: Model, before: int | None) -> list[Version]:
    """Return the newest versions, or the newest of those before one, oldest first."""
    newest = work[Versions].newest(model.id)
    end = before or (newest.number + 1 if newest else 1)
    found = work[Versions].page(model.id, VERSIONS, max(0, end - 1 - VERSIONS))
    return [version for version in found if version.number < end]


@router.get("/models/{model}/versions/{version}", Role.VIEWER)
def show_version(model: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Show a version."""
    platform = asked.platform
    principal: Principal = asked.request.scope["state"]["principal"]
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        aliases = [one for one in work[Aliases].all(found.id) if one.version == version]
        job = work[Jobs].get(wanted.job)
        taught = [(work[Datasets].get(one.dataset).name, one.version) for one in wanted.taught]
        marks = [mark for mark in live_marks(work, [found]) if mark.version == version]
        engine = work[EngineChecks].find(wanted.digest)
        verdicts = work[Verdicts].on(found.id, version)
        added = added_to_line(work, wanted)
        policies = work[Policies].names({one.policy for one in verdicts})
        suites = work[Suites].names({suite for one in verdicts for suite in one.suites})
        required = promotion_requirements(work, wanted, PRODUCTION)
        refusal = expected_refusal(work, wanted, PRODUCTION)
        rolls_back = refusal is not None and _rolls_back_to(work, found, version)
    takes = role_in_spite_of(refusal, wanted, verdicts, required)
    may_override = takes is not None and principal.may(takes)
    report, missing = _report(platform, wanted)
    return asked.page(
        "version.html",
        model=found,
        version=wanted,
        marks=marks,
        aliases=aliases,
        job=job,
        taught=taught,
        report=report,
        missing=missing,
        engine=engine,
        promotable=refusal is None,
        may_override=may_override,
        rolls_back=rolls_back,
        verdicts=[
            verdict_view(one, found, {**suites, **policies}, added, required.settled)
            for one in reversed(verdicts)
        ],
        headline=headline(report) if report else (),
        to_grow=_to_grow(report, found.name) if report else (),
        to_label=_to_label(report, f"{found.name}:{version}") if report else (),
        guarded=guarded(report) if report else (),
        gains=gains(report) if report else (),
        interval_plot=plots.interval_plot,
        shown=CLASSES,
        precisions=[one for one in ServingPrecision if one is not wanted.precision],
        key=fresh_key(),
    )


def _to_grow(report: Report, model: str) -> list[tuple[str, str]]:
    """Return what would decide an inconclusive verdict with more images, and the page to add them.

    That are open suites and holdouts, and suites that are too small to guard.
    """
    if report.verdict is not Verdict.INCONCLUSIVE:
        return []
    ids = {name: suite for suite, name in report.suites.items()}
    least, found = report.policy["minimum_count"], dict[str, str]()
    for one in report.measures:
        undecided = one.outcome is Outcome.OPEN and one.more_images is not None
        if one.name in report.unlabelled:
            continue
        if one.kind in SUITES and one.name in ids and (undecided or one.distinct < least):
            found[f"the suite {one.name}"] = f"{PAGES}/suites/{ids[one.name]}/images"
        elif one.kind is MeasureKind.HOLDOUT and undecided:
            number = one.name.removeprefix("version ")
            path = f"{PAGES}/models/{model}/versions/{number}/holdout/images"
            found[f"the holdout of {one.name}"] = path
    return [*found.items()]


def _to_label(report: Report, version: str) -> list[tuple[str, str]]:
    """Return the unlabelled suites that more labels may let decide, and the page to give them."""
    wanted = labels_wanted(report) if report.verdict is Verdict.INCONCLUSIVE else ()
    return [
        (f"the suite {name}", f"{PAGES}/suites/{suite}/label?version={version}")
        for suite, name in report.suites.items()
        if name in wanted
    ]


@router.get("/models/{model}/versions/{version}/report", Role.VIEWER)
def show_report(
    model: str, version: VersionNumber, services: WiredServices, job: ReportJob = None
) -> Response:
    """Show a whole report, as one page that can be saved and sent."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Versions].get(work[Models].get(model).id, version)
        stored = report_digest(found, work[Evaluations].report(found, job))
        record = record_of(work, services.platform.artifacts, found, stored)
    report = read_report(services.platform.artifacts, found, stored)
    headers = {"Content-Security-Policy": style_policy()}
    back = f"{PAGES}/models/{model}/versions/{version}"
    text = render_report(report, erased=found.erasure is not None, back=back, record=record)
    return HTMLResponse(text, headers=headers)


def _rolls_back_to(work: Work, model: Model, version: int) -> bool:
    """Return whether a rollback of `production` would make a version live again."""
    try:
        return find_rollback_target(work, model, PRODUCTION) == version
    except PerennialError:
        return False


def _report(platform: Platform, version: Version) -> tuple[Report | None, str]:
    """Return a version's report, or why there is none."""
    try:
        return Report.from_json(read_report(platform.artifacts, version)), ""
    except PerennialError as error:
        return None, error.message


@router.post("/models/{model}/versions/{version}/scoring", Role.CONTRIBUTOR)
def score_again(
    model: str,
    version: VersionNumber,
    asked: PageRequest,
    principal: CurrentPrincipal,
    fields: SentForm,
) -> Response:
    """Order that a version be scored beside what an alias points at, and show the job."""
    job = order_evaluation(
        asked.platform,
        asked.services.notifier,
        job_request(asked.request, principal, *sent_key(fields)),
        model=model,
        version=version,
        alias=fields.get("alias") or PRODUCTION,
    )
    return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)


@router.post("/models/{model}/versions/{version}/conversion", Role.CONTRIBUTOR)
def convert(
    model: str,
    version: VersionNumber,
    asked: PageRequest,
    principal: CurrentPrincipal,
    fields: SentForm,
) -> Response:
    """Order that a version be made in another precision, and show the job."""
    job = order_conversion(
        asked.platform,
        asked.services.notifier,
        job_request(asked.request, principal, *sent_key(fields)),
        model=model,
        order=ConvertOrder(
            precision=choice_field(fields, "precision", ServingPrecision),
            parent=version,
            auto_promote=principal.may(Role.OPERATOR),
        ),
    )
    return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)
