"""The page of jobs, newest first, and what has come of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response, StreamingResponse

from api.dependencies import CurrentPrincipal, Services, WiredServices, job_request
from api.http.routing import PAGES, needs
from api.http.schemas import After, AfterNumber, number_after
from api.jobs.routes import STREAM, read_events, stream_events
from api.pages.browsing import PageRoute
from api.pages.plots import Drawing, line, text
from api.pages.rendering import Chosen, Text, page, read_form
from core.database.work import Work
from core.datasets.edit import UploadOutcome
from core.datasets.rows import Datasets
from core.errors import DatasetNotFound, EvaluationStale, LearnedErasedImages, StaleBase
from core.gate.rules import Verdict
from core.job_types.retry import retry_job
from core.jobs.orders import (
    BlameOrder,
    CompareIndexOrder,
    EraseOrder,
    ExportOrder,
    ImportImagesOrder,
    JobType,
    ReembedOrder,
)
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, JobEvent, JobStatus, NamedJob
from core.principal import Role
from core.registry.rows import Models
from core.values import DatasetId, JobId, Json
from core.vectors.rules import IndexVerdict

# The terms of a training loss over its steps, each as a small plot of inline SVG.


WIDTH, HEIGHT = 250, 92

TRAINING = "training"

FIRST = ("loss", "accuracy")  # in this order, then the other terms

_FACTS = frozenset({"phase", "step", "total", "group", "groups"})

_NAMES = {
    "ce": "cross-entropy",
    "vr": "distillation on random sentences",
    "lwf": "distillation on earlier classes",
    "scale": "scale of scores",
    "images_per_second": "images per second",
    "waited": "share of time waiting for images",
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A term of the loss, or another value of training steps."""

    name: str
    last: float
    plot: Drawing


def loss_curves(events: Sequence[JobEvent]) -> list[Curve]:
    """Return a curve of each value that the progress events of training have."""
    series: dict[str, list[tuple[float, float]]] = {}
    for event in events:
        if event.data.get("phase") == TRAINING:
            for name, value in _values(event.data).items():
                series.setdefault(name, []).append((float(event.data.get("step", 0)), value))
    names = [name for name in FIRST if name in series]
    names += [name for name in series if name not in FIRST]
    return [_curve(name, series[name]) for name in names if len(series[name]) > 1]


def _values(data: Mapping[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in data.items()
        if name not in _FACTS and isinstance(value, int | float)
    }


def _curve(name: str, found: Sequence[tuple[float, float]]) -> Curve:
    first, end = found[0][0], max(step for step, _ in found)
    low, high = min(value for _, value in found), max(value for _, value in found)
    spread = high - low or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        x = 4 + (step - first) / (end - first or 1.0) * (WIDTH - 60)
        return round(x, 1), round(10 + (high - value) / spread * (HEIGHT - 34), 1)

    path = "M" + "L".join("{} {}".format(*place(step, value)) for step, value in found)
    bottom = HEIGHT - 18
    x, y = place(*found[-1])
    marks = [
        line(4, bottom, WIDTH - 56, bottom, "zero"),
        text(4, HEIGHT - 4, "tick", f"step {first:,.0f}"),
        text(WIDTH - 56, HEIGHT - 4, "tick end", f"{end:,.0f}"),
        text(WIDTH - 48, 14, "tick", f"{high:.3g}"),
        text(WIDTH - 48, bottom, "tick", f"{low:.3g}"),
        Markup('<path d="{}" class="curve"/>').format(path),
        Markup('<circle cx="{}" cy="{}" r="3"/>').format(x, y),
    ]
    last = found[-1][1]
    label = f"{name} from step {first:,.0f} to {end:,.0f}: last {last:.3g}, {low:.3g} to {high:.3g}"
    title = _NAMES.get(name, name.replace("_", " "))
    return Curve(
        name=title, last=last, plot=Drawing(width=WIDTH, height=HEIGHT, label=label, marks=marks)
    )


router = APIRouter(route_class=PageRoute, include_in_schema=False)

JOBS = 40

BLAMED = 3  # classes of a sentence

_NOT_ADDED = {
    UploadOutcome.DUPLICATE: "here already",
    UploadOutcome.LABEL_CONFLICT: "of another class",
    UploadOutcome.REJECTED: "refused",
}

_NOT_PROMOTED = {
    StaleBase().code: "{alias} had moved",
    EvaluationStale().code: "what judges it had changed",
    LearnedErasedImages().code: "images that it learned from had been erased",
}

_TAGS = {
    **{verdict.value: verdict.value for verdict in Verdict},
    IndexVerdict.INDEX_HOLDS.value: "holds",
    IndexVerdict.BRIDGE.value: "open",
    IndexVerdict.REEMBED.value: "fails",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What has come of a job: a page, a verdict, a sentence, and what no page shows."""

    link: tuple[str, str] | None = None  # the address of the page, and its name
    tag: tuple[str, str] | None = None  # the look of the verdict, and its words
    text: str = ""
    more: tuple[str, str] | None = None  # its name, and the command or request that returns it
    code: str = ""  # of the error that the text tells of

    @property
    def said(self) -> bool:
        """True if there is something to show."""
        return bool(self.link or self.tag or self.text)


@router.get(f"{PAGES}/jobs", openapi_extra=needs(Role.VIEWER))
def show_jobs(
    request: Request,
    services: WiredServices,
    model: Text = "",
    type: Chosen[JobType] = None,  # noqa: A002
    status: Chosen[JobStatus] = None,
    after: After = None,
) -> Response:
    """Show jobs; an empty field of the filter takes every job."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Jobs].named_page(
            JOBS + 1,
            JobId(after) if after else None,
            model=work[Models].get(model).id if model else None,
            job_type=type,
            status=status,
        )
        outcomes = outcomes_of(work, rows[:JOBS])
    chosen = {"model": model, "type": type and type.value, "status": status and status.value}
    return page(
        request,
        "job_list.html",
        rows=list(zip(rows, outcomes, strict=False)),
        next=rows[JOBS - 1].job.id if len(rows) > JOBS else None,
        chosen={name: value for name, value in chosen.items() if value},
        types=[one.value for one in JobType],
        statuses=[one.value for one in JobStatus],
        now=services.platform.clock(),
    )


def outcomes_of(work: Work, rows: Sequence[NamedJob]) -> list[Outcome]:
    """Return what has come of each of some jobs."""
    orders = [row.job.order for row in rows if row.job.result is not None]
    wanted = {one.dataset for one in orders if isinstance(one, ImportImagesOrder | ReembedOrder)}
    names = {dataset: name for dataset in wanted if (name := _name(work, dataset))}
    return [outcome_of(row, names) for row in rows]


def outcome_of(named: NamedJob, datasets: Mapping[DatasetId, str]) -> Outcome:
    """Return what has come of a job, given the names of the datasets that are still there.

    Results of earlier releases may have less in them than those of today.
    """
    job, result = named.job, named.job.result
    if job.error is not None:
        code = str(job.error.get("code") or "failed")
        text = str(job.error.get("message") or code)
        return Outcome(link=_version(named, job.version), text=text, code=code)
    if result is None:
        return Outcome()
    match job.order:
        case ImportImagesOrder() as order:
            found = _of_images(job.id, order, result, datasets.get(order.dataset))
        case EraseOrder() as order:
            found = _of_erasure(order, result)
        case BlameOrder() as order:
            found = _of_blame(named, order, result)
        case ExportOrder() as order:
            found = _of_export(named, order, result)
        case CompareIndexOrder() as order:
            found = _of_comparison(named, order, result)
        case ReembedOrder() as order:
            found = _of_vectors(named, order, result, datasets.get(order.dataset))
        case _:
            found = _of_version(named, result)
    return found


def _of_version(named: NamedJob, result: Json) -> Outcome:
    """Tell of a version that was made, scored or imported, and whether an alias moved to it."""
    promotion = result.get("promotion") or {}
    text = ""
    if promotion.get("moved"):
        text = f"made live as {promotion['alias']}"
    elif why := _NOT_PROMOTED.get(promotion.get("reason", "")):
        text = "not made live: " + why.format(alias=promotion["alias"])
    elif result.get("created") is False:
        text = "here already"
    return Outcome(link=_version(named, result.get("version")), tag=_tag(result), text=text)


def _of_images(job: JobId, order: ImportImagesOrder, result: Json, name: str | None) -> Outcome:
    added = _count(result.get(UploadOutcome.CREATED.value, 0), "image")
    told = [f"only checked: {added} to add" if order.validate_only else f"{added} added"]
    counts = {words: result.get(outcome.value, 0) for outcome, words in _NOT_ADDED.items()}
    told += [f"{count:,} {words}" for words, count in counts.items() if count]
    return Outcome(
        link=(f"{PAGES}/datasets/{name}", name) if name else None,
        text=", ".join(told),
        more=("What became of each file, with an API key", f"GET /v1/jobs/{job}/report"),
    )


def _of_erasure(order: EraseOrder, result: Json) -> Outcome:
    text = f"{_count(result.get('images', 0), 'image')} erased"
    if versions := result.get("versions", 0):
        text += f"; versions that had learned from them: {versions:,}"
        text += f", trained again: {result.get('retrained', 0):,}"
    return Outcome(text=text, more=("Its certificate", f"perennial certificate {order.erasure}"))


def _of_blame(named: NamedJob, order: BlameOrder, result: Json) -> Outcome:
    groups, blamed = result.get("groups", 0), result.get("blamed", ())
    told = [
        f"group {one['group']} of {groups} cost {one['class']} its accuracy"
        for one in blamed[:BLAMED]
    ]
    if len(blamed) > BLAMED:
        told.append(f"{len(blamed) - BLAMED:,} more")
    text = ", ".join(told) or f"none of {_count(groups, 'group')} of images is clearly to blame"
    return Outcome(
        link=_version(named, order.version),
        text=text,
        more=("What each group changed", f"perennial watch {named.job.id}"),
    )


def _of_export(named: NamedJob, order: ExportOrder, result: Json) -> Outcome:
    place = f"/v1/models/{named.model}/versions/{order.version}/exports/{order.format.value}"
    return Outcome(
        link=_version(named, order.version),
        text=", ".join(filter(None, (order.format.value, _size(result)))),
        more=("Its files, with an API key", f"GET {place}/download"),
    )


def _of_comparison(named: NamedJob, order: CompareIndexOrder, result: Json) -> Outcome:
    before, now = order.baseline, order.version
    where = f"{PAGES}/models/{named.model}/map?before={before}&now={now}"
    place = f"/v1/models/{named.model}/versions/{now}/compatibility/{before}"
    return Outcome(
        link=(where, f"map of versions {before} and {now}"),
        tag=_tag(result),
        text=result.get("reason", ""),
        more=("The whole report, with an API key", f"GET {place}"),
    )


def _of_vectors(named: NamedJob, order: ReembedOrder, result: Json, name: str | None) -> Outcome:
    number = order.dataset_version
    place = f"/v1/models/{named.model}/versions/{order.version}/vectors"
    rows = _count(result.get("rows", 0), "vector")
    return Outcome(
        link=(f"{PAGES}/datasets/{name}/versions/{number}", f"{name} version {number}")
        if name
        else None,
        text=", ".join(filter(None, (f"{rows} by version {order.version}", _size(result)))),
        more=("Its file, with an API key", f"GET {place}/{name}/{number}/download")
        if name
        else None,
    )


def _version(named: NamedJob, number: int | None) -> tuple[str, str] | None:
    if named.model is None or number is None:
        return None
    return f"{PAGES}/models/{named.model}/versions/{number}", f"version {number}"


def _tag(result: Json) -> tuple[str, str] | None:
    verdict = result.get("verdict")
    return (_TAGS.get(verdict, ""), verdict.replace("_", " ")) if verdict else None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(result: Json) -> str:
    size = result.get("size")
    if size is None:
        return ""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def _name(work: Work, dataset: DatasetId) -> str | None:
    try:
        return work[Datasets].get(dataset).name
    except DatasetNotFound:
        return None


# The page of a job: its progress while it runs, the curves of its loss, and its events.


job_router = APIRouter(
    prefix=f"{PAGES}/jobs/{{job}}", route_class=PageRoute, include_in_schema=False
)

EVENTS = 60  # of the list, newest

POINTS = 300  # of a curve

_PLACE = ("phase", "step", "total")

LastEventId = Annotated[str, Header(alias="Last-Event-ID", pattern="^[0-9]{0,9}$")]


@job_router.get("", openapi_extra=needs(Role.VIEWER))
def show_job(job: str, request: Request, services: WiredServices) -> Response:
    """Show a job."""
    return page(request, "job.html", **_read(services, JobId(job)))


@job_router.get("/panel", openapi_extra=needs(Role.VIEWER))
def show_panel(job: str, request: Request, services: WiredServices) -> Response:
    """Show the part of the page that changes while a job runs."""
    return page(request, "job_panel.html", **_read(services, JobId(job)))


@job_router.get("/events", openapi_extra=needs(Role.VIEWER))
async def follow_job(
    job: str,
    services: WiredServices,
    after: AfterNumber = None,
    last_event_id: LastEventId = "",
) -> Response:
    """Stream the events of a job until it ends."""
    start = number_after(last_event_id) if last_event_id else number_after(after)
    await run_in_threadpool(read_events, services, JobId(job), 1, start)
    return StreamingResponse(stream_events(services, JobId(job), start), media_type=STREAM)


@job_router.post("/cancel", openapi_extra=needs(Role.CONTRIBUTOR))
async def stop_job(job: str, request: Request, services: WiredServices) -> Response:
    """Cancel a job: at once if it is queued, at its next step if it runs."""
    await read_form(request)
    await run_in_threadpool(cancel_job, services.platform, JobId(job))
    return RedirectResponse(f"{PAGES}/jobs/{job}", 303)


@job_router.post("/retry", openapi_extra=needs(Role.CONTRIBUTOR))
async def order_job_again(
    job: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Order a failed or cancelled job again, and show the new one."""
    await read_form(request)
    ordered_by = job_request(request, principal, None, None)
    again = await run_in_threadpool(
        retry_job, services.platform, services.notifier, ordered_by, JobId(job)
    )
    return RedirectResponse(f"{PAGES}/jobs/{again.id}", 303)


def _read(services: Services, job: JobId) -> dict[str, Any]:
    with services.platform.transactions(read_only=True) as work:
        named = work[Jobs].named(job)
        events = work[Jobs].newest_events(job, EVENTS)
        sampled = work[Jobs].sampled_events(job, EventKind.PROGRESS, POINTS)
        (outcome,) = outcomes_of(work, [named])
    status = named.job.status
    return {
        "named": named,
        "job": named.job,
        "outcome": outcome,
        "events": [(event, _told(event.data)) for event in events],
        "last": events[0].sequence if events else 0,
        "kinds": " ".join(EventKind),
        "curves": loss_curves(sampled),
        "again": status in {JobStatus.FAILED, JobStatus.CANCELLED},
        "cancellable": status in {JobStatus.QUEUED, JobStatus.RUNNING},
        "now": services.platform.clock(),
    }


def _told(data: Mapping[str, Any]) -> str:
    """Return what an event says in a line."""
    found = []
    if "phase" in data:
        total = data.get("total")
        found.append(f"{data['phase']}, {data['step']:,} of {total:,}" if total else data["phase"])
    rest = {name: value for name, value in data.items() if name not in _PLACE}
    return " · ".join([*found, *(f"{name} {_value(value)}" for name, value in rest.items())])


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)[:300]
