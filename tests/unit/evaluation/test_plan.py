"""Which version must answer which question."""

from dataclasses import replace

from core.datasets.manifests import ManifestEntry, Part
from core.datasets.rules import SuiteKind
from core.evaluation.holdouts import HeldOutUpdate
from core.registry.versions import VersionStatus
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    SECOND,
    THIRD,
    entries,
    report_of,
    second_update,
    suite,
    taught,
)
from tests.support.factories import NOW


def test_candidate_parent_and_root_answer_the_same_questions_once() -> None:
    asked = {
        who.number: [question.digest for question in questions]
        for who, questions in second_update().questions
    }
    assert set(asked) == {1, 2, 3}
    (emoji,) = second_update().parent_learned  # asked each over its default list
    assert set(asked[2]) - set(asked[3]) == {emoji.own.digest}
    assert emoji.union.digest in set(asked[3]) & set(asked[2])
    assert set(asked[3]) <= set(asked[2])
    earlier, _ = second_update().holdouts  # the root was taught none of it
    shared = {earlier.exam.with_suites.digest, emoji.union.digest}
    assert set(asked[3]) - set(asked[1]) == shared
    assert all(len(digests) == len(set(digests)) for digests in asked.values())


def test_learner_and_settled_version_further_back_answer_for_its_holdout_alone() -> None:
    first, second = EARLIER
    hats = HeldOutUpdate(version=THIRD, holdout=entries("third", [("hat",)] * 10))
    fifth = HeldOutUpdate(version=taught(THIRD, 5, ("cap",)), holdout=())
    earlier = [first, replace(second, passed=True), hats]
    plan = second_update(candidate=fifth, parent=THIRD, earlier=earlier)
    asked = {who.number: [q.digest for q in questions] for who, questions in plan.questions}
    assert set(asked) == {1, 2, 3, 4, 5}
    bags, boots, _ = (holdout.exam.own.digest for holdout in plan.holdouts)
    of_all, *_ = (holdout.exam.union.digest for holdout in plan.holdouts)
    assert asked[2] == [bags, *asked[2][1:]]
    assert {bags, boots, of_all} <= {*asked[3]}
    assert of_all not in asked[2]


def line_of(length: int, *, passed: int = 99) -> list[HeldOutUpdate]:
    """Versions 2, 3 and so on, each with a holdout; up to `passed` of them went live by passing."""
    found, before = [], ROOT
    for number in range(2, 2 + length):
        before = taught(before, number, (f"class {number}",))
        held_out = entries(f"holdout {number}", [before.update_classes] * 4)
        went = number <= 1 + passed
        found.append(HeldOutUpdate(version=before, holdout=held_out, passed=went))
    return found


def anchors(line: list[HeldOutUpdate]) -> list[int | None]:
    *earlier, candidate = line
    plan = second_update(candidate=candidate, parent=earlier[-1].version, earlier=earlier)
    return [one.anchor and one.anchor.number for one in plan.earlier]


def test_settled_versions_answer_the_candidates_list_and_of_many_every_second_one_does() -> None:
    assert anchors(line_of(5)) == [3, 4, 5, 5]
    assert anchors(line_of(5, passed=0)) == [2, 3, 4, 5]
    many = anchors(line_of(12))
    assert many == [3, 5, 5, 7, 7, 9, 9, 11, 11, None, None]
    assert anchors(line_of(40))[:10] == [3, 11, 11, 11, 11, 11, 11, 11, 11, 19]


def test_a_settled_version_without_weights_answers_no_new_list() -> None:
    line = line_of(5)
    line[1] = replace(line[1], version=replace(line[1].version, collected_at=NOW))
    assert anchors(line) == [4, 4, 5, 5]
    plan = second_update(candidate=line[4], parent=line[3].version, earlier=line[:4])
    asked = {who.number: len(questions) for who, questions in plan.questions}
    assert asked[3] == 4  # the own lists of the first two holdouts and of two suites


def test_the_settled_version_is_the_first_that_went_live_by_passing_after_the_learner() -> None:
    promoted = replace(SECOND, status=VersionStatus.PROMOTED)  # with a reason, or by override
    earlier = [EARLIER[0], replace(EARLIER[1], version=promoted)]
    earlier.append(replace(EARLIER[1], version=THIRD, passed=True))
    again = replace(taught(THIRD, 5, ("cap",)), status=VersionStatus.PROMOTED)
    candidate = HeldOutUpdate(version=again, holdout=entries("fifth", [("cap",)] * 4), passed=True)
    plan = second_update(candidate=candidate, parent=THIRD, earlier=earlier)
    # a candidate that is scored again after it went live is not its own baseline
    assert [one.settled.number for one in plan.earlier] == [4, 4, 4]


def test_validation_part_is_never_asked() -> None:
    both = entries("v", [("cat",), ("dog",)] * 5, Part.VALIDATION) + entries("t", [("cat",)] * 3)
    plan = second_update(
        suites=[suite("mixed", both, SuiteKind.ZERO_SHOT)],
        candidate=HeldOutUpdate(
            version=SECOND, holdout=entries("u", [("boot",)] * 4, Part.VALIDATION)
        ),
    )
    asked = [q for _, questions in plan.questions for q in questions]
    assert all(entry.part is Part.TEST for question in asked for entry in question.entries)
    assert len(plan.zero_shot[0].own.entries) == 3


def test_suite_is_judged_on_its_own_classes_and_shown_on_the_union() -> None:
    exam = second_update().zero_shot[0]
    assert exam.own.classes == ("Bag", "cat", "dog", "sun")
    # "bag" would be asked by the very prompt of "Bag" and is not added.
    assert exam.union.classes == ("Bag", "cat", "dog", "sun", "shirt", "boot", "coat")


def test_class_of_a_suite_without_a_test_image_competes_and_is_not_scored() -> None:
    tested = entries("t", [("cat",), ("dog",)] * 10)
    unseen = entries("v", [("sun",)] * 3, Part.VALIDATION)
    plan = second_update(suites=[suite("sky", tested + unseen, SuiteKind.ZERO_SHOT)])
    exam = plan.zero_shot[0]
    assert exam.own.classes == ("cat", "dog", "sun")
    report = report_of(plan, lambda who, question, index: True)
    shown = [table for table in report.changes if table.name == "sky"]
    assert {change.class_name for table in shown for change in table.classes} == {"cat", "dog"}
    assert report.images["sky"] == 20
    assert report.scores[0].zero_shot == 1.0


def test_update_and_suite_that_share_a_class_in_any_case_have_one_prompt_and_one_column() -> None:
    plan = second_update(
        suites=[
            suite("mine", entries("m", [("BAG",), ("Coat",), ("sun",)] * 5), SuiteKind.ZERO_SHOT)
        ]
    )
    exam = plan.zero_shot[0]
    assert exam.union.classes == ("BAG", "Coat", "sun", "shirt", "boot")
    assert len(set(exam.union.prompt.fill_all(exam.union.classes))) == 5


def test_earlier_holdout_is_judged_on_the_classes_known_then() -> None:
    exam = second_update().earlier[0].exam
    assert exam.own.classes == ("bag", "shirt")
    assert exam.union.classes == ("bag", "shirt", "boot", "coat")


def test_gain_is_asked_over_all_learned_classes() -> None:
    own = second_update().own
    assert own is not None
    assert own.exam.own.classes == ("bag", "shirt", "boot", "coat")
    assert own.exam.own.digest == own.exam.union.digest


def test_holdout_without_a_test_image_is_left_out() -> None:
    plan = second_update(candidate=HeldOutUpdate(version=SECOND, holdout=()))
    assert plan.own is None
    assert [h.learner.number for h in plan.holdouts] == [2]


def test_first_update_asks_its_only_baseline_once() -> None:
    plan = second_update(candidate=EARLIER[0], parent=ROOT, earlier=[])
    assert [who.number for who, _ in plan.questions] == [2, 1]


def in_both_parts(name: str, *classes: str) -> tuple[ManifestEntry, ...]:
    """Twelve images of each class in either part."""
    texts = [(one,) for one in classes] * 12
    return entries(name, texts) + entries(name, texts, Part.VALIDATION)


def test_candidate_is_calibrated_on_suites_and_holdouts_and_the_root_on_suites_alone() -> None:
    captions = suite("shapes", in_both_parts("shapes", "a square"), SuiteKind.RETRIEVAL)
    emoji = suite("emoji", in_both_parts("emoji", "cat", "dog"), SuiteKind.ZERO_SHOT)
    few = suite("few", entries("few", [("sun",), ("moon",)] * 9), SuiteKind.ZERO_SHOT)
    plan = second_update(
        candidate=HeldOutUpdate(version=SECOND, holdout=in_both_parts("second", "boot", "coat")),
        earlier=[HeldOutUpdate(version=FIRST, holdout=in_both_parts("first", "bag", "shirt"))],
        suites=[emoji, captions, few],
    )
    assert plan.calibration is not None
    learned, pictures = plan.calibration.sources
    assert (learned.name, learned.classes) == ("learned classes", SECOND.classes)
    assert {entry.class_name for entry in learned.entries} == {"bag", "shirt", "boot", "coat"}
    assert (pictures.name, pictures.entries) == (
        "emoji",
        tuple(
            entry
            for part in Part
            for entry in sorted(emoji.manifest.entries, key=lambda one: one.pixels)
            if entry.part is part
        ),
    )
    assert plan.root_calibration is not None
    assert plan.root_calibration.sources == (pictures,)
    for calibration, calibrated in ((plan.calibration, SECOND), (plan.root_calibration, ROOT)):
        asked = {who.number for who, queries in plan.questions if calibration in queries}
        assert asked == {calibrated.number}


def test_a_version_with_few_images_is_not_calibrated() -> None:
    plan = second_update()  # no validation images
    assert (plan.calibration, plan.root_calibration) == (None, None)
