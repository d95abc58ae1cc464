"""The evidence of a report: all that its verdict follows from, so that anyone can recompute it.

It is kept in parts, as answers are: the images of each suite and holdout (digests, classes and
groups of near-duplicates), what each version answered about them, and the facts, which name the
other parts by their digests. An erasure deletes the parts about its images, as it deletes answers.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import Any

from core.datasets.manifests import ManifestEntry
from core.evaluation.answers import (
    Answers,
    ClassAnswers,
    answers_from_json,
    answers_to_json,
    views_to_json,
)
from core.evaluation.exams import RetrievalExam
from core.evaluation.holdouts import CaptionedHoldout
from core.evaluation.judge import BesideVerdict, build_report, verdicts_beside
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery, list_of_images
from core.evaluation.report import Report
from core.evaluation.results import AnswersByQuery
from core.gate.kinds import SETTLED, SUITES
from core.gate.levels import Spending
from core.registry.versions import Version
from core.values import Digest, Json, canonical_json, from_plain, sha256

FORMAT = 1

# What the facts are stored under, among the answers: (report, EVIDENCE). Each other part is stored
# under the digest of the list of its images, and its own.
EVIDENCE = sha256(b"evidence")

# After the name of a holdout: its images without those that were added, which the whole list has.
AT_FIRST = ", at first"

# After the name of an unlabelled suite: its labelled images, with their classes.
LABELS = ", labels"

# The images of all captioned suites and holdouts, among which small holdouts are searched for.
TOGETHER = "captions, together"

# The images of all captioned suites and of all holdouts, those of classes included.
AMONG_ALL = "captions, among all"

# After the name of a captioned suite and a number: the images of an edition before the newest.
EARLIER = ", earlier edition"

# Between the name of a suite and that of a version, which has learned the classes of its images.
LEARNED = ", learned by "

_REPEATED = (AT_FIRST, LABELS, TOGETHER, AMONG_ALL, EARLIER)

Entries = tuple[ManifestEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation with its verdicts and its time."""

    plan: EvaluationPlan
    answers: AnswersByQuery
    spending: Mapping[Digest, Spending]  # by query
    failed_before: frozenset[int]  # beside which versions an earlier look has failed
    report: Digest  # artifact
    verdicts: Sequence[BesideVerdict]
    job: str
    release: str  # of the service
    at: datetime


def parts_of(
    plan: EvaluationPlan, answers: AnswersByQuery
) -> dict[tuple[Digest, Digest], tuple[bytes, EvalQuery]]:
    """Return the lists of images and the answers, each with a query about its images.

    They are by the digests of the list of these images and of the part.
    """
    found: list[tuple[bytes, EvalQuery]] = []
    for query in image_sets(plan).values():
        found.append((images_to_bytes(shown_entries(query)), query))
    for version, queries in _judged_by(plan).questions:
        found += [
            (_to_bytes(answers[version.digest, query.digest], query), query) for query in queries
        ]
    return {(sha256(list_of_images(query)), sha256(part)): (part, query) for part, query in found}


def _to_bytes(answers: Answers, query: EvalQuery) -> bytes:
    """Return answers as canonical JSON, with those to the views that are judged."""
    found = answers_to_json(answers)
    if isinstance(answers, ClassAnswers) and isinstance(query, ClassQuery) and query.views:
        found |= views_to_json(answers.views[: query.views])
    return canonical_json(found)


def _from_json(found: Json) -> Answers:
    answers = answers_from_json(found)
    if not isinstance(answers, ClassAnswers):
        return answers
    return replace(answers, views=tuple(map(tuple, found.get("views", ()))))


def _judged_by(plan: EvaluationPlan) -> EvaluationPlan:
    """Return a plan without what no verdict depends on."""
    return replace(plan, calibration=None, root_calibration=None)


def facts_of(evaluated: Evaluated) -> dict[str, Any]:
    """Return the facts: the plan, which part has what images or answers, and the verdicts."""
    plan = _judged_by(evaluated.plan)
    shown = _without_captions(plan)
    writer = _Writer()
    written = writer.plain(shown)
    pairs = [
        (version.digest, query, as_shown)
        for (version, asked), (_, questions) in zip(plan.questions, shown.questions, strict=True)
        for query, as_shown in zip(asked, questions, strict=True)
    ]
    for _, _, as_shown in pairs:
        writer.plain(as_shown.entries)  # that of a suite which a settled version has learned, too
    renamed = {query.digest: as_shown.digest for _, query, as_shown in pairs}
    sets = {query.entries: (name, query) for name, query in image_sets(shown).items()}
    return {
        "format": FORMAT,
        "release": evaluated.release,
        "job": evaluated.job,
        "at": evaluated.at.isoformat(),
        "report": evaluated.report,
        "verdicts": [asdict(one) for one in evaluated.verdicts],
        "plan": written,
        "versions": writer.versions,
        "names": writer.names,
        "images": [
            {
                "name": name,
                "count": len(entries),
                "list": sha256(list_of_images(query)),
                "file": sha256(images_to_bytes(entries)),
            }
            for entries in writer.images
            for name, query in [sets[entries]]
        ],
        "answers": [
            {
                "version": version,
                "query": as_shown.digest,
                "images": writer.images.index(as_shown.entries),
                "file": sha256(_to_bytes(evaluated.answers[version, query.digest], query)),
            }
            for version, query, as_shown in pairs
        ],
        "spending": {
            renamed[query]: asdict(spent)
            for query, spent in evaluated.spending.items()
            if query in renamed
        },
        "failed_before": sorted(evaluated.failed_before),
    }


def is_repeated(name: str) -> bool:
    """Return whether the images of a list are in a whole list, too."""
    return name.endswith(_REPEATED) or LEARNED in name


def image_sets(plan: EvaluationPlan) -> dict[str, ClassQuery | RetrievalQuery]:
    """Return a query about the images of each suite and holdout of a plan, by its name."""
    found: dict[str, ClassQuery | RetrievalQuery] = {
        exam.name: exam.own for exam in plan.suite_exams
    }
    for suite in plan.unlabelled:
        if suite.labels:
            found[suite.name + LABELS] = replace(suite.own, entries=suite.labels)
    learned = [(f"the {role}", exams) for role, _, exams in plan.by_default]
    learned += [(f"version {by.number}", exams) for by, exams in plan.settled_learned]
    for by, exams in learned:
        for exam in exams:
            if exam.own.entries != found[exam.name].entries:
                found[f"{exam.name}{LEARNED}{by}"] = exam.own
    for one in (*plan.holdouts, *plan.live_holdouts):
        found[one.exam.name] = one.exam.own
        if one.at_first and one.at_first != one.exam.own.entries:
            found[one.exam.name + AT_FIRST] = replace(one.exam.own, entries=one.at_first)
    for captioned in (*plan.captioned, *plan.live_captioned):
        found[captioned.exam.name] = captioned.exam.own
        if captioned.exam.among:
            found[TOGETHER] = captioned.exam.among
    for searched in (
        *plan.retrieval,
        *(one.exam for one in (*plan.captioned, *plan.live_captioned)),
    ):
        if searched.union:
            found[AMONG_ALL] = searched.union
        named = enumerate(searched.earlier, 1)
        found |= {f"{searched.name} {n}{EARLIER}": query for n, query in named}
    return found


def shown_entries(query: EvalQuery) -> Entries:
    """Return the images of a query as evidence shows them: digests stand for captions.

    Captions may tell what a reader of a report is not to know; classes are in the report.
    """
    if not isinstance(query, RetrievalQuery):
        return query.entries
    return tuple(
        replace(entry, texts=tuple(sha256(text.encode()) for text in entry.texts))
        for entry in query.entries
    )


def _without_captions(plan: EvaluationPlan) -> EvaluationPlan:
    def shown(exam: RetrievalExam) -> RetrievalExam:
        own = RetrievalQuery(entries=shown_entries(exam.own))
        among = exam.among and RetrievalQuery(entries=shown_entries(exam.among))
        union = exam.union and RetrievalQuery(entries=shown_entries(exam.union))
        earlier = (RetrievalQuery(entries=shown_entries(one)) for one in exam.earlier)
        return RetrievalExam(
            name=exam.name, own=own, among=among, union=union, earlier=tuple(earlier)
        )

    def held_out(holdouts: Sequence[CaptionedHoldout]) -> tuple[CaptionedHoldout, ...]:
        return tuple(replace(one, exam=shown(one.exam)) for one in holdouts)

    return replace(
        plan,
        retrieval=tuple(map(shown, plan.retrieval)),
        captioned=held_out(plan.captioned),
        live_captioned=held_out(plan.live_captioned),
    )


def images_to_bytes(entries: Entries) -> bytes:
    """Return images as canonical JSON: pixels, older near-duplicate, edition, class or captions."""
    return canonical_json(
        [[one.pixels, one.near_duplicate_of, one.edition, *one.texts] for one in entries]
    )


def _images_from_json(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "pixels": pixels,
            "artifact": pixels,  # the stored form is no part of the evidence
            "texts": texts,
            "near_duplicate_of": oldest,
            "edition": edition,
        }
        for pixels, oldest, edition, *texts in rows
    ]


# The plan as JSON. What comes several times is written once: versions, images, and long lists of
# names stand in tables, and {"table": "names", "row": 3} in their place.


class _Writer:
    def __init__(self) -> None:
        self.images: list[Entries] = []
        self.names: list[Sequence[str]] = []
        self.versions: list[Json] = []
        self._places: dict[object, Json] = {}

    def plain(self, value: Any) -> Any:
        found = value
        match value:
            case Version():
                key = (value.number, value.digest)
                found = self._once("versions", self.versions, key, lambda: self._version(value))
            case (ManifestEntry(), *_):
                found = self._once("images", self.images, value, lambda: value)
            case (str(), str(), str(), *_):
                found = self._once("names", self.names, value, lambda: value)
            case tuple():
                found = [self.plain(one) for one in value]
            case frozenset():
                found = sorted(value)
            case Mapping():
                found = {name: self.plain(one) for name, one in value.items()}
            case datetime():
                found = value.isoformat()
            case _ if is_dataclass(value):
                found = self._fields(value)
        return found

    def _version(self, version: Version) -> Json:
        """Return a version without how it was trained, which no verdict depends on."""
        return self._fields(
            replace(
                version,
                recipe=None,
                environment={},
                environments=(),
                reference=None,
                notes={},
                feature_statistics={},
            )
        )

    def _fields(self, value: Any) -> dict[str, Any]:
        return {each.name: self.plain(getattr(value, each.name)) for each in fields(value)}

    def _once(self, table: str, rows: list[Any], key: object, made: Callable[[], Any]) -> Json:
        if (table, key) not in self._places:
            row = made()  # first, since it may add rows of its own
            self._places[table, key] = {"table": table, "row": len(rows)}
            rows.append(row)
        return self._places[table, key]


def _filled(value: Any, tables: Mapping[str, Sequence[Any]]) -> Any:
    """Return JSON with the rows of tables in their places."""
    match value:
        case {"table": str(table), "row": int(row), **others} if not others:
            found = tables[table][row]
            return found if table == "images" else _filled(found, tables)
        case dict():
            return {name: _filled(one, tables) for name, one in value.items()}
        case list():
            return [_filled(one, tables) for one in value]
    return value


# Recomputing.

# What the answers of an evaluation do not decide: how a version was trained, thresholds for "none
# of these", cells of earlier reports, and counts of other evaluations.
NOT_RECOMPUTED = frozenset(
    {"recipe", "reference", "notes", "environments", "exact", "rejection", "matrix", "transfer"}
    | {"judged_before", "near_duplicates"}
)
EQUAL = 1e-9  # machines may round the last digits of a number in another way


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value that a report states, and what follows from its evidence."""

    place: str  # such as "measures: zero_shot emoji, own, against parent: lower"
    stated: Any
    recomputed: Any


def differences(facts: Json, report: Json, parts: Mapping[Digest, Any]) -> list[Difference]:
    """Return where a report and its verdicts differ from what follows from its evidence.

    `parts` are the lists of images and the answers, by digest. What does not fit together raises
    KeyError, ValueError, TypeError, IndexError, AttributeError, or an error of the rules.
    """
    plan, answers, spending = _read(facts, parts)
    failed_before = frozenset(map(int, facts["failed_before"]))
    stated = Report.from_json(report)
    found = build_report(
        plan,
        answers,
        previous=None,
        spending=spending,
        failed_before=failed_before,
        judged_before=stated.judged_before,
        near_duplicates=stated.near_duplicates,
    )
    verdicts = verdicts_beside(plan, answers, found, spending=spending, failed_before=failed_before)
    return [
        *_compare("", _compared(report), _compared(json.loads(found.to_bytes()))),
        *_compare(
            "verdicts",
            facts["verdicts"],
            json.loads(canonical_json([asdict(one) for one in verdicts])),
        ),
    ]


def _read(
    facts: Json, parts: Mapping[Digest, Any]
) -> tuple[EvaluationPlan, AnswersByQuery, Mapping[Digest, Spending]]:
    tables = {
        "images": [_images_from_json(parts[one["file"]]) for one in facts["images"]],
        "names": facts["names"],
        "versions": facts["versions"],
    }
    plan = from_plain(EvaluationPlan, _filled(facts["plan"], tables))
    answers = {
        (one["version"], one["query"]): _from_json(parts[one["file"]]) for one in facts["answers"]
    }
    spending = {
        Digest(query): from_plain(Spending, spent) for query, spent in facts["spending"].items()
    }
    return plan, answers, spending


def _compared(report: Json) -> dict[str, Any]:
    """Return what of a report is recomputed; measures by what they measure, so that none is missed.

    A measure that is there twice counts as another one.
    """
    measures: dict[str, Json] = {}
    for one in report["measures"]:
        name = f"{one['kind']} {one['name']}, {one['asked']}, against {one['baseline']}"
        if one["kind"] in SUITES and one["baseline"] == SETTLED:  # of which there are several
            name += f" {one['baseline_version']}"
        name += ", own prompts" if one["own_prompts"] else ""
        name += ", negative flips" if one["formerly_right"] else ""
        name += f", R@{one['depth']}" if one["depth"] > 1 else ""
        measures[name + " again" * (name in measures)] = one
    rest = {name: value for name, value in report.items() if name not in NOT_RECOMPUTED}
    return rest | {"measures": measures}


NOTHING = "nothing"  # in place of a value that one side lacks


def _compare(place: str, stated: Any, found: Any) -> Iterator[Difference]:
    match stated, found:
        case dict(), dict():
            for name in {**stated, **found}:
                inside = f"{place}: {name}" if place else name
                yield from _compare(inside, stated.get(name, NOTHING), found.get(name, NOTHING))
        case list(), list() if len(stated) == len(found):
            for number, pair in enumerate(zip(stated, found, strict=True), 1):
                yield from _compare(f"{place} {number}", *pair)
        case (bool(), _) | (_, bool()) if stated is not found:
            yield Difference(place=place, stated=stated, recomputed=found)
        case (int() | float(), int() | float()) if abs(stated - found) <= EQUAL:
            return
        case _ if stated != found:
            yield Difference(place=place, stated=stated, recomputed=found)
