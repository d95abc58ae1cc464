"""The columns of a study's table, each with its score, title and unit."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.study.results.runs import MATRIX_SCORES


@dataclass(frozen=True, kw_only=True)
class Column:
    """A score's place in the table."""

    score: str
    title: str
    factor: float = 100.0  # shares as points
    digits: int = 1


Groups = dict[str, list[Column]]


def columns_of(
    retained: Sequence[str], *, retrieval: bool, sessions: int, folds: bool = False
) -> Groups:
    """Return the columns of a study's table, in groups that fit a page.

    With `folds`, they include recalls over galleries of 1,000 images.
    """
    # The UT-Acc that papers report is micro after one session, macro by sessions after several.
    micro, macro = ("ut_acc", "new/macro") if sessions == 1 else ("new", "ut_acc")
    learned = [Column(score=micro, title="UT-Acc micro"), Column(score=macro, title="UT-Acc macro")]
    learned.append(Column(score="gain", title="gain"))
    for name in retained:
        learned += [
            Column(score=f"retained/{name}", title=name),
            Column(score=f"retained/{name}/change", title="change"),
            Column(score=f"retained/{name}/retention", title="retention"),
            Column(score=f"union/{name}", title=f"new ∪ {name}"),
        ]
    if retained:
        learned.append(Column(score="a_acc", title="A-Acc"))
    learned.append(Column(score="training_s", title="training s", factor=1, digits=0))
    groups = {"Learned and retained": learned}
    if sessions > 1:
        groups["Over the sessions"] = [
            Column(score=name, title=name.replace("_", " ")) for name in (*MATRIX_SCORES, "fwt")
        ]
    if retrieval:
        groups["Retrieval, and the untouched model's index"] = [
            Column(score="retrieval/image_to_text/1", title="R@1 image to text"),
            Column(score="retrieval/text_to_image/1", title="R@1 text to image"),
            *(_folds() if folds else []),
            Column(score="index/image_cosine", title="cosine images", factor=1, digits=3),
            Column(score="index/caption_cosine", title="cosine texts", factor=1, digits=3),
            Column(score="index/new_on_old/text_to_image", title="new texts, old images R@1"),
            Column(score="index/new_on_old/image_to_text", title="new images, old texts R@1"),
            Column(score="index/neighbours_kept", title="neighbours kept"),
        ]
    return groups


def _folds() -> list[Column]:
    return [
        Column(score="folds_1k/image_to_text/1", title="of 1,000: image to text"),
        Column(score="folds_1k/text_to_image/1", title="of 1,000: text to image"),
    ]
