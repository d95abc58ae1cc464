"""Evidence: what is recomputed from it, and who tampers with it is found out."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from core.bundles.evidence import EvidenceUnreadable, read_evidence
from core.bundles.rules import ENVELOPE_FILE, Envelope, Statement
from core.bundles.signing import Signatures
from core.errors import BundleInvalid, BundleNotTrusted
from core.evaluation.evidence import NOT_RECOMPUTED, NOTHING
from core.evaluation.plan import EvaluationPlan
from core.gate.levels import Spending
from tests.support.bundles import OURS, THEIRS
from tests.support.evaluation.evaluations import (
    answered,
    by_turns,
    live_line,
    policy,
    second_update,
    third_update,
)
from tests.support.evaluation.evidence import Opened, evidence_of, forged, opened

BUDGET = policy(line_error=0.05, negative_flips=0.3, same_names=(("Bag", "sack"),))

PLAN = second_update(policy=BUDGET)
FILE = evidence_of(PLAN, answered(PLAN, by_turns))

WITH_VIEWS = evidence_of(second_update(), answered(second_update(), by_turns))  # no budget


def found_in(file: bytes) -> list[tuple[str, Any, Any]]:
    differences = read_evidence(io.BytesIO(file)).differences()
    return [(one.place, one.stated, one.recomputed) for one in differences]


@pytest.mark.parametrize(
    "plan",
    [PLAN, third_update(), second_update(live=live_line())],
    ids=["captions and budget", "pooled", "live"],
)
def test_a_report_is_equal_to_what_follows_from_its_evidence(plan: EvaluationPlan) -> None:
    spending = {plan.zero_shot[0].own.digest: Spending(verdict=7, luck=1.5)}
    file = evidence_of(plan, answered(plan, by_turns), spending)
    read = read_evidence(io.BytesIO(file))
    assert read.differences() == []
    assert read.images == sum(read.report["images"].values())
    assert read.report.keys() > NOT_RECOMPUTED


def test_evidence_holds_no_caption_and_not_how_a_version_was_trained() -> None:
    text = json.dumps(vars(opened(FILE)))
    assert "red square" not in text
    assert {one["recipe"] for one in opened(FILE).facts["versions"]} == {None}


def answer_better(made: Opened) -> None:
    for one in made.facts["answers"]:
        if one["version"] == made.report["digest"] and "predicted" in made.parts[one["file"]]:
            found = made.parts[one["file"]]["predicted"]
            made.parts[one["file"]] = {"predicted": [0] * len(found)}


def blur(made: Opened) -> None:
    for one in made.facts["answers"]:
        if one["version"] == made.report["digest"] and "views" in made.parts[one["file"]]:
            made.parts[one["file"]]["views"][0] = [0] * len(made.parts[one["file"]]["predicted"])


def relabel(made: Opened) -> None:
    rows = made.parts[made.facts["images"][0]["file"]]
    rows[0][2] = "dog" if rows[0][2] == "cat" else "cat"


def regroup(made: Opened) -> None:
    rows = made.parts[made.facts["images"][0]["file"]]
    for row in rows[1:]:
        row[1] = rows[0][0]


def widen(made: Opened) -> None:
    made.facts["plan"]["policy"]["parent_tolerance"] = 0.5


def widen_both(made: Opened) -> None:
    widen(made)
    made.report["policy"]["parent_tolerance"] = 0.5


def pass_it(made: Opened) -> None:
    made.report["verdict"] = "passed"


def pass_it_beside(made: Opened) -> None:
    made.facts["verdicts"][0]["verdict"] = "passed"


def raise_a_bound(made: Opened) -> None:
    made.report["measures"][0]["lower"] += 1e-6


def leave_out_a_measure(made: Opened) -> None:
    made.report["measures"].pop(0)


def repeat_a_measure(made: Opened) -> None:
    made.report["measures"].insert(1, made.report["measures"][0])


def say_it_holds(made: Opened) -> None:
    made.report["reasons"] = ["All measures are within tolerance."]


def be_another_version(made: Opened) -> None:
    made.report["digest"] = "0" * 64


def forget_the_budget(made: Opened) -> None:
    made.facts["plan"]["policy"]["line_error"] = made.report["policy"]["line_error"] = None


def leave_out_a_suite(made: Opened) -> None:
    made.facts["plan"]["zero_shot"] = []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (answer_better, "measures: zero_shot emoji, own, against parent: right"),
        (blur, "measures: zero_shot emoji, own, against parent: soft: gained"),
        (regroup, "measures: zero_shot emoji, own, against parent: distinct"),
        (widen, "policy: parent_tolerance"),
        (widen_both, "measures: zero_shot emoji, own, against parent: tolerance"),
        (pass_it, "verdict"),
        (pass_it_beside, "verdicts 1: verdict"),
        (raise_a_bound, "measures: zero_shot emoji, own, against parent: lower"),
        (leave_out_a_measure, "measures: zero_shot emoji, own, against parent"),
        (repeat_a_measure, "measures: zero_shot emoji, own, against parent again"),
        (say_it_holds, "reasons"),
        (be_another_version, "digest"),
        (forget_the_budget, "measures: zero_shot emoji, own, against parent: level"),
        (leave_out_a_suite, "measures: zero_shot emoji, own, against root"),
    ],
)
def test_tampering_is_named_even_where_the_service_itself_signed_it(
    change: Callable[[Opened], object], place: str
) -> None:
    file = WITH_VIEWS if change is blur else FILE
    assert place in {one for one, *_ in found_in(forged(file, change))}


def test_a_measure_that_a_report_leaves_out_is_told_with_what_it_would_say() -> None:
    ((_, stated, recomputed),) = found_in(forged(FILE, leave_out_a_measure))
    assert stated == NOTHING
    assert recomputed["tolerance"] == 0.03


def test_another_class_of_an_image_does_not_fit_the_answers() -> None:
    with pytest.raises(EvidenceUnreadable, match="do not fit together"):
        found_in(forged(FILE, relabel))


def test_a_signature_of_another_key_is_not_trusted() -> None:
    ours = Signatures("", {"service": OURS.public})
    assert ours.signer_of(read_evidence(io.BytesIO(FILE)).envelope).name == "service"
    for private in (THEIRS.private, ""):
        file = forged(FILE, pass_it, private=private)
        with pytest.raises(BundleNotTrusted):
            ours.signer_of(read_evidence(io.BytesIO(file)).envelope)


def rewritten(change: Callable[[dict[str, bytes]], object]) -> bytes:
    """The file with other members under the same statement."""
    with zipfile.ZipFile(io.BytesIO(FILE)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.update({"report.json": b"{}"}),
        lambda members: members.update({"more.json": b"{}"}),
        lambda members: members.pop(next(name for name in members if "parts" in name)),
        lambda members: members.pop(ENVELOPE_FILE),
    ],
    ids=["changed", "added", "missing", "no statement"],
)
def test_files_that_the_statement_does_not_name_so_are_refused(
    change: Callable[[dict[str, bytes]], object],
) -> None:
    with pytest.raises(EvidenceUnreadable):
        read_evidence(io.BytesIO(rewritten(change)))
    with pytest.raises(EvidenceUnreadable):
        read_evidence(io.BytesIO(b"no zip"))


def test_a_signed_statement_of_evidence_is_no_bundle() -> None:
    envelope = read_evidence(io.BytesIO(FILE)).envelope
    with pytest.raises(BundleInvalid):
        Statement.from_bytes(envelope.payload)
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope


def test_the_same_evidence_is_the_same_file() -> None:
    assert evidence_of(PLAN, answered(PLAN, by_turns)) == FILE
