"""The outcome of a job in words: a page, a verdict, a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from api.http.routing import PAGES
from core.database.work import Work
from core.datasets.rows import Datasets
from core.datasets.uploads import UploadOutcome
from core.errors import (
    DatasetNotFound,
    EvaluationStale,
    Forbidden,
    KeyNotLive,
    LearnedErasedImages,
    StaleBase,
)
from core.gate.rules import Verdict
from core.jobs.orders import (
    BlameOrder,
    CompareIndexOrder,
    EraseOrder,
    ExportOrder,
    ImportImagesOrder,
    ReembedOrder,
)
from core.jobs.rules import NamedJob
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.version_rows import Versions
from core.values import DatasetId, ErasureId, JobId, Json, ModelId
from core.vectors.rules import IndexVerdict

BLAMED = 3  # classes of a sentence

_NOT_ADDED = {
    UploadOutcome.DUPLICATE: "here already",
    UploadOutcome.LABEL_CONFLICT: "here already with another class",
    UploadOutcome.REJECTED: "refused",
}

_NOT_PROMOTED = {
    "not_asked_for": "the order leaves that to a person",
    "gate_failed": "the gate failed it",
    "gate_inconclusive": "the gate cannot decide",
    StaleBase().code: "{alias} had moved",
    EvaluationStale().code: "what judges it had changed",
    LearnedErasedImages().code: "images that it learned from had been erased",
    KeyNotLive().code: "the key that ordered it had been revoked or had expired",
    Forbidden().code: "the key that ordered it may not move aliases",
}

_FOR_A_PERSON = {"not_asked_for", "gate_inconclusive"}  # to promote, with a reason

_TAGS = {
    **{verdict.value: verdict.value for verdict in Verdict},
    IndexVerdict.INDEX_HOLDS.value: "holds",
    IndexVerdict.BRIDGE.value: "open",
    IndexVerdict.REEMBED.value: "fails",
    IndexVerdict.UNCERTAIN.value: "open",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a job: a page, a verdict, a sentence, and what no page shows."""

    link: tuple[str, str] | None = None  # the address of the page, and its name
    tag: tuple[str, str] | None = None  # the look of the verdict, and its words
    text: str = ""
    more: tuple[str, str] | None = None  # its name, and the command or request that returns it
    more_takes: Role = Role.VIEWER
    code: str = ""  # of the error that the text tells of
    promotion: str = ""  # the address where a version that may go live is promoted by hand

    @property
    def said(self) -> bool:
        """True if there is something to show."""
        return bool(self.link or self.tag or self.text)


@dataclass(frozen=True, kw_only=True)
class Present:
    """The state of things that jobs have made or filled, as it is now."""

    datasets: Mapping[DatasetId, str] = field(default_factory=dict)  # their names
    # Versions, each with the first erasure of an image that it learned from.
    versions: Mapping[tuple[ModelId, int], ErasureId | None] = field(default_factory=dict)
    aliases: Mapping[tuple[ModelId, str], int] = field(default_factory=dict)  # their versions


def outcomes_of(work: Work, rows: Sequence[NamedJob]) -> list[Outcome]:
    """Return what has come of each of some jobs."""
    ended = [row.job for row in rows if row.job.result is not None]
    orders = [job.order for job in ended]
    wanted = {one.dataset for one in orders if isinstance(one, ImportImagesOrder | ReembedOrder)}
    made = {
        (job.model, version)
        for job in ended
        if job.model and isinstance(version := (job.result or {}).get("version"), int)
    }
    present = Present(
        datasets={dataset: name for dataset in wanted if (name := _name(work, dataset))},
        versions=work[Versions].erasures(made),
        aliases={
            (alias.model, alias.name): alias.version
            for alias in (work[Aliases].all(*{model for model, _ in made}) if made else ())
        },
    )
    return [outcome_of(row, present) for row in rows]


def _name(work: Work, dataset: DatasetId) -> str | None:
    try:
        return work[Datasets].get(dataset).name
    except DatasetNotFound:
        return None


def outcome_of(named: NamedJob, now: Present) -> Outcome:
    """Return what has come of a job, given what is there now."""
    job, result = named.job, named.job.result
    if job.error is not None:
        code = str(job.error.get("code") or "failed")
        text = str(job.error.get("message") or code)
        return Outcome(link=_version(named, job.version), text=text, code=code)
    if result is None:
        return Outcome()
    match job.order:
        case ImportImagesOrder() as order:
            found = _of_images(job.id, order, result, now.datasets.get(order.dataset))
        case EraseOrder() as order:
            found = _of_erasure(order, result)
        case BlameOrder() as order:
            found = _of_blame(named, order, result)
        case ExportOrder() as order:
            found = _of_export(named, order, result)
        case CompareIndexOrder() as order:
            found = _of_comparison(named, order, result)
        case ReembedOrder() as order:
            found = _of_vectors(named, order, result, now.datasets.get(order.dataset))
        case _:
            found = _of_version(named, result, now)
    return found


def _of_version(named: NamedJob, result: Json, now: Present) -> Outcome:
    """Tell of a version that was made, scored or imported, and whether it is live now."""
    promotion, number = result.get("promotion") or {}, result.get("version")
    model, alias = named.job.model, promotion.get("alias", "")
    if model is not None and number is not None:
        if (model, number) not in now.versions:
            return Outcome(tag=_tag(result), text=f"version {number} was deleted since")
        if now.versions[model, number] is not None:
            return Outcome(
                link=_version(named, number),
                tag=("failed", "learned from erased images"),
                text=_of_erased(now, model, number),
            )
    text = by_hand = ""
    live = now.aliases.get((model, alias)) if model is not None else None
    if promotion.get("moved"):
        text = f"made live as {alias}"
        if live != number:
            text += f", where version {live} is now" if live else ", which was deleted since"
    elif live is not None and live == number:
        text = f"live as {alias}, promoted by hand"
    elif why := _NOT_PROMOTED.get(promotion.get("reason", "")):
        text = "not made live: " + why.format(alias=alias)
        if promotion["reason"] in _FOR_A_PERSON and named.model:
            place = f"{PAGES}/models/{named.model}/aliases/{alias}"
            by_hand = f"{place}/promotion?version={number}"
    elif result.get("created") is False:
        text = "here already"
    return Outcome(link=_version(named, number), tag=_tag(result), text=text, promotion=by_hand)


def _of_erased(now: Present, model: ModelId, number: int) -> str:
    version = model, number
    live = [name for (one, name), its in now.aliases.items() if (one, its) == version]
    still = f", but is still live as {', '.join(live)}" if live else ""
    return f"images that it learned from were erased since: it may not go live{still}"


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
    more = ("Its certificate", f"perennial certificate {order.erasure}")
    return Outcome(text=text, more=more, more_takes=Role.ADMIN)


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
    version = _version(named, order.version)
    return Outcome(
        link=(f"{version[0]}/files", f"files of {version[1]}") if version else None,
        text=", ".join(filter(None, (order.format.value, _size(result)))),
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
