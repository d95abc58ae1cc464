"""The cells of the demo's tables, read from an update's forgetting report."""

from collections.abc import Iterator, Mapping

from perennial.types.evaluation.reports import Measure, Report

NEW, EARLIER = "new classes", "earlier classes"
SUITES = {
    "zero_shot": "emoji top-1",
    "image_to_text": "R@1 image>text",
    "text_to_image": "R@1 text>image",
}
CHANGES = (NEW, EARLIER, *SUITES.values())


def changes(report: Report) -> Mapping[str, Measure]:
    """Return the measures of `CHANGES`; without an earlier update, there are no earlier classes.

    Suites are compared with version 1, so the changes of successive updates add up.
    """
    found = {}
    for measure in report["measures"]:
        if measure["kind"] == "gain":
            found[NEW] = measure
        elif measure["name"] == _parent(report):
            found[EARLIER] = measure
        elif measure["kind"] in SUITES and measure["baseline"] in ("root", "parent and root"):
            found[SUITES[measure["kind"]]] = measure
    return found


def accuracies(report: Report) -> Iterator[tuple[str, float, float]]:
    """Yield the parent's and the candidate's accuracies on the held-out images of two updates.

    The earlier update made the parent. Its images are classified twice: among its own classes, by
    which forgetting is judged, and among all that the candidate has learned.
    """
    earlier = {row["role"]: row for row in report["lists"] if row["name"] == _parent(report)}
    before, after = earlier["parent"], earlier["candidate"]
    own, union = after["own_classes"], after["union_classes"]
    yield f"{EARLIER}, {own} to choose from", before["own"], after["own"]
    yield f"{EARLIER}, {union} to choose from", before["union"], after["union"]
    gain = changes(report)[NEW]
    shares = gain["right_before"] / gain["count"], gain["right"] / gain["count"]
    yield f"{NEW}, {union} to choose from", *shares
    yield f"all {union} classes", all_learned(report, "parent"), all_learned(report, "candidate")


def all_learned(report: Report, role: str) -> float:
    """Return a version's accuracy on the held-out images of all updates of the line."""
    (share,) = (scores["ut_micro"] for scores in report["scores"] if scores["role"] == role)
    assert share is not None  # every update of the demo has a holdout
    return share


def _parent(report: Report) -> str:
    """Return the name of the holdout of the update that made the parent."""
    return f"version {report['parent']}"
