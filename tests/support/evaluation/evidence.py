"""Evidence of reports on chosen answers, and what somebody makes of it who wants to deceive."""

import io
import json
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from core.bundles.evidence import FACTS_FILE, REPORT_FILE, part_file
from core.bundles.rules import ENVELOPE_FILE
from core.bundles.signing import Signatures
from core.bundles.write_evidence import packed
from core.evaluation.evidence import Evaluated, facts_of, parts_of
from core.evaluation.judge import build_report, verdicts_beside
from core.evaluation.plan import EvaluationPlan
from core.evaluation.results import AnswersByQuery
from core.gate.levels import Spending
from core.values import Digest, canonical_json, sha256
from tests.support.bundles import OURS
from tests.support.factories import NOW


def evidence_of(
    plan: EvaluationPlan,
    answers: AnswersByQuery,
    spending: Mapping[Digest, Spending] | None = None,
    *,
    failed_before: Collection[int] = (),
    private: str = OURS.private,
) -> bytes:
    """The file of the evidence of an evaluation with these answers."""
    spending = spending or {}
    report = build_report(
        plan,
        answers,
        previous=None,
        spending=spending,
        failed_before=frozenset(failed_before),
        judged_before=2,
        near_duplicates=1,
    )
    evaluated = Evaluated(
        plan=plan,
        answers=answers,
        spending=spending,
        failed_before=frozenset(failed_before),
        report=sha256(report.to_bytes()),
        verdicts=verdicts_beside(
            plan, answers, report, spending=spending, failed_before=frozenset(failed_before)
        ),
        job="job_1",
        release="0.1.0",
        at=NOW,
    )
    contents = {FACTS_FILE: canonical_json(facts_of(evaluated))}
    contents |= {REPORT_FILE: report.to_bytes()}
    contents |= {part_file(one): part for (_, one), (part, _) in parts_of(plan, answers).items()}
    return packed(Signatures(private, {}), contents, {})


def spent(*, verdict: int, luck: float, look: int = 1) -> Spending:
    """The place of a verdict in the line's budget, and of its look."""
    return Spending(verdict=verdict, luck=luck, look=look)


@dataclass
class Opened:
    """A file's contents as plain JSON, to be changed."""

    facts: dict[str, Any]
    report: dict[str, Any]
    parts: dict[str, Any]  # by digest


def opened(file: bytes) -> Opened:
    """The contents of a file."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    found.pop(ENVELOPE_FILE)
    facts, report = (json.loads(found.pop(name)) for name in (FACTS_FILE, REPORT_FILE))
    parts = {str(sha256(data)): json.loads(data) for data in found.values()}
    return Opened(facts=facts, report=report, parts=parts)


def forged(
    file: bytes, change: Callable[[Opened], object], *, private: str = OURS.private
) -> bytes:
    """The file after a change, with digests that fit, signed by a key."""
    made = opened(file)
    change(made)
    contents, renamed = {}, {}
    for digest, part in made.parts.items():
        data = canonical_json(part)
        renamed[digest] = sha256(data)
        contents[part_file(renamed[digest])] = data
    for one in (*made.facts["images"], *made.facts["answers"]):
        one["file"] = renamed.get(one["file"], one["file"])
    report = canonical_json(made.report)
    facts = made.facts | {"report": sha256(report)}
    contents |= {FACTS_FILE: canonical_json(facts), REPORT_FILE: report}
    return packed(Signatures(private, {}), contents, {})
