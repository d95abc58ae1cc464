"""Pages of jobs: the list, and a job with its progress, the curves of its loss and its events."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, get_args

from fastapi import Header, Query
from markupsafe import Markup
from pydantic import model_validator
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, Services, WiredServices, job_request
from api.http.routing import PAGES, Routes
from api.http.schemas import AfterNumber, Time, number_after
from api.jobs.outcomes import outcomes_of
from api.jobs.routes import EventStream, read_events
from api.jobs.schemas import JobQuery
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm
from api.pages.plots import Drawing, line, text
from api.pages.rendering import PageRequest
from core.database.work import Work
from core.errors import PerennialError
from core.job_types.retry import retry_job
from core.jobs.orders import require_to_order
from core.jobs.queue import cancel_job, require_cancellable
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, Job, JobEvent, JobStatus
from core.principal import Role
from core.values import JobId

router = Routes(prefix=f"{PAGES}/jobs", route_class=PageRoute, include_in_schema=False)

JOBS = 40  # of a page
EVENTS = 60  # of the list, newest
POINTS = 300  # of a curve
_PLACE = ("phase", "step", "total")

LastEventId = Annotated[str, Header(alias="Last-Event-ID", pattern="^[0-9]{0,9}$")]


@dataclass(frozen=True, kw_only=True)
class FilterField:
    """A field of the list's form: a choice of values, or else a text or a time in UTC."""

    name: str
    label: str
    values: Sequence[str] = ()
    is_time: bool = False


def filter_fields() -> list[FilterField]:
    """Return a field for each filter of a list of jobs."""
    fields = JobQuery.model_fields.items()
    shown = [(field.alias or name, field.annotation) for name, field in fields]
    return [_filter_field(name, kind) for name, kind in shown if name not in {"limit", "after"}]


def _filter_field(name: str, annotation: Any) -> FilterField:
    kind, label = get_args(annotation)[0], name.replace("_", " ").capitalize()  # it is optional
    if kind is Time:
        return FilterField(name=name, label=f"{label}, UTC", is_time=True)
    is_choice = isinstance(kind, type) and issubclass(kind, StrEnum)
    return FilterField(name=name, label=label, values=[*kind] if is_choice else ())


FILTERS = filter_fields()
_LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d", re.ASCII)  # as a browser sends a time


class ChosenJobs(JobQuery):
    """The query of the list's form; an empty field takes every job, and times are in UTC."""

    @model_validator(mode="before")
    @classmethod
    def _read_form(cls, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        given = {name: value for name, value in sent.items() if value != ""}
        for field in FILTERS:
            if field.is_time and _LOCAL.fullmatch(str(given.get(field.name))):
                given[field.name] = f"{given[field.name]}:00Z"
        return given


@router.get("", Role.VIEWER)
def show_jobs(asked: PageRequest, query: Annotated[ChosenJobs, Query()]) -> Response:
    """Show jobs, newest first."""
    with asked.platform.transactions(read_only=True) as work:
        rows = query.read(work, JOBS + 1)
        outcomes = outcomes_of(work, rows[:JOBS])
    return asked.page(
        "job_list.html",
        rows=list(zip(rows, outcomes, strict=False)),
        next=rows[JOBS - 1].job.id if len(rows) > JOBS else None,
        chosen=query.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"limit", "after"}
        ),
        filters=FILTERS,
    )


@router.get("/{job}", Role.VIEWER)
def show_job(job: str, asked: PageRequest) -> Response:
    """Show a job."""
    return asked.page("job.html", **_read(asked.services, JobId(job)))


@router.get("/{job}/panel", Role.VIEWER)
def show_panel(job: str, asked: PageRequest) -> Response:
    """Show the part of the page that changes while a job runs."""
    return asked.page("job_panel.html", **_read(asked.services, JobId(job)))


@router.get("/{job}/events", Role.VIEWER)
async def follow_job(
    job: str,
    services: WiredServices,
    after: AfterNumber = None,
    last_event_id: LastEventId = "",
) -> Response:
    """Stream the events of a job until it ends."""
    start = number_after(last_event_id) if last_event_id else number_after(after)
    await run_in_threadpool(read_events, services, JobId(job), 1, start)
    return EventStream(services, JobId(job), start)


@router.post("/{job}/cancel", Role.CONTRIBUTOR)
def stop_job(job: str, asked: PageRequest, _form: SentForm) -> Response:
    """Cancel a job: at once if it is queued, at its next step if it runs."""
    cancel_job(asked.platform, JobId(job))
    return RedirectResponse(f"{PAGES}/jobs/{job}", 303)


@router.post("/{job}/retry", Role.CONTRIBUTOR)
def order_job_again(
    job: str, asked: PageRequest, principal: CurrentPrincipal, _form: SentForm
) -> Response:
    """Order a failed or cancelled job again, and show the new one."""
    ordered_by = job_request(asked.request, principal, None, None)
    again = retry_job(asked.platform, asked.services.notifier, ordered_by, JobId(job))
    return RedirectResponse(f"{PAGES}/jobs/{again.id}", 303)


def _read(services: Services, job: JobId) -> dict[str, Any]:
    with services.platform.transactions(read_only=True) as work:
        named = work[Jobs].named(job)
        events = work[Jobs].newest_events(job, EVENTS)
        sampled = work[Jobs].sampled_events(job, EventKind.PROGRESS, POINTS)
        (outcome,) = outcomes_of(work, [named])
        act = _possible(work, named.job)
    return {
        "named": named,
        "job": named.job,
        "outcome": outcome,
        "events": [(event, _told(event.data)) for event in events],
        "last": events[0].sequence if events else 0,
        "kinds": " ".join(EventKind),
        "curves": loss_curves(sampled),
        "act": act,
        "now": services.platform.clock(),
    }


def _possible(work: Work, job: Job) -> str | None:
    """Return what the caller may do with a job: "cancel" it or "retry" it, or neither."""
    with suppress(PerennialError):
        if job.status in {JobStatus.QUEUED, JobStatus.RUNNING}:
            require_cancellable(work, job)
            return "cancel"
        if job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
            require_to_order(work.principal, job.type, job.order)
            return "retry"
    return None


def _told(data: Mapping[str, Any]) -> str:
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
