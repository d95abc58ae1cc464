"""Label images of unlabelled suites. A label stays: what was judged by it can be judged again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from core.audit import record as audit
from core.audit.rules import Action
from core.database.statements import chunks
from core.database.tables import suite_labels
from core.database.work import Rows
from core.datasets.freeze import read_manifest, read_remaining
from core.datasets.manifests import Part
from core.datasets.rows import ErasedImages
from core.datasets.rules import Suite, SuiteKind, lineage_of
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.version_rows import Suites
from core.errors import ClassInvalid, FieldInvalid, ImageLabelled, ImageNotFound, PerennialError
from core.platform import Platform
from core.values import Digest, SuiteId, canonical_json, clean_class, sha256

NO_CLASS = "none of these"  # the label of an image that shows none of the suite's classes


class SuiteLabels(Rows):
    """Rows of labels; all editions of a suite share them."""

    def of(self, suite: SuiteId) -> Mapping[Digest, str]:
        """Return the classes that were given to images of a suite, by pixels."""
        theirs = suite_labels.c.suite == lineage_of(suite)
        query = sa.select(suite_labels.c.pixels, suite_labels.c.class_name).where(theirs)
        return {row.pixels: row.class_name for row in self._connection.execute(query)}

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Store labels of images that have none."""
        self._connection.execute(sa.insert(suite_labels), rows)

    def erase(self, pixels: Collection[Digest]) -> None:
        """Delete all labels of images."""
        for chunk in chunks(pixels):
            gone = sa.delete(suite_labels).where(suite_labels.c.pixels.in_(chunk))
            self._connection.execute(gone)


class LabelOutcome(StrEnum):
    """The outcome of sending a label."""

    ADDED = "added"
    REPEATED = "repeated"  # the image had it already


@dataclass(frozen=True, kw_only=True)
class LabelReceipt:
    """A label that was sent, and what became of it or why it was refused."""

    pixels: Digest
    class_name: str
    outcome: LabelOutcome | None = None
    refusal: PerennialError | None = None


def require_unlabelled(suite: Suite) -> None:
    """Raise FieldInvalid for a suite that came with its labels or captions."""
    if suite.kind is not SuiteKind.UNLABELLED:
        raise FieldInvalid(f"The {suite.title} is not unlabelled.", pointer="/suite")


def label_images(
    platform: Platform, *, suite: str, labels: Sequence[tuple[str, str]]
) -> list[LabelReceipt]:
    """Label images of a suite, named by their pixels, each once; return a receipt for each.

    A class is one of the suite's, or "none of these". Refusals are ImageNotFound for what is no
    test image, ClassInvalid and ImageLabelled. Raises Forbidden for a key that is limited to some
    models, SuiteNotFound, SuiteRetired, or FieldInvalid for a suite of another kind.
    """
    now = platform.clock()
    with platform.transactions(read_only=True) as work:
        work.principal.require_every_model()
        found = work[Suites].newest(suite)
        require_unlabelled(found)
    # Read while nobody waits: such a suite has one edition, whose images only an erasure takes.
    entries = read_manifest(platform.artifacts, found.manifest).entries
    tests = {entry.pixels for entry in entries if entry.part is Part.TEST}
    asked = tests.intersection(pixels for pixels, _ in labels)
    with platform.transactions() as work:
        work[Thumbnails].lock()  # as an erasure does, which deletes labels
        found = work[Suites].newest(suite, lock=True)
        found.require_in_use()
        asked -= work[ErasedImages].erased(asked).keys()
        known = dict(work[SuiteLabels].of(found.id))
        receipts = [_received(found, asked, known, *label) for label in labels]
        new = [one for one in receipts if one.outcome is LabelOutcome.ADDED]
        if not new:
            return receipts
        given = {one.pixels: one.class_name for one in new}
        fixed = {"suite": lineage_of(found.id), "actor": work.principal.name, "at": now}
        work[SuiteLabels].add(
            [{"pixels": pixels, "class_name": name, **fixed} for pixels, name in given.items()]
        )
        audit.record(
            work,
            Action.SUITE_LABELLED,
            f"suites/{found.name}",
            now=now,
            after={"labels": len(given), "sha256": sha256(canonical_json(given))},
        )
        work.commit()
    return receipts


def _received(
    suite: Suite, asked: Collection[Digest], known: dict[Digest, str], pixels: str, text: str
) -> LabelReceipt:
    """Return the receipt of one label, which is `known` from then on."""
    image = Digest(pixels)
    try:
        if image not in asked:
            raise ImageNotFound(pixels=image)
        name = class_of(suite, text)
        if image not in known:
            known[image] = name
            return LabelReceipt(pixels=image, class_name=name, outcome=LabelOutcome.ADDED)
        if known[image] != name:
            raise ImageLabelled(pixels=image, label=known[image])
        return LabelReceipt(pixels=image, class_name=name, outcome=LabelOutcome.REPEATED)
    except PerennialError as refusal:
        return LabelReceipt(pixels=image, class_name=text[:120], refusal=refusal)


def class_of(suite: Suite, text: str) -> str:
    """Return a class of a suite as its list spells it, or "none of these". Raises ClassInvalid."""
    name = clean_class(text)
    for one in (*suite.classes, NO_CLASS):
        if one.lower() == name.lower():
            return one
    raise ClassInvalid(
        f"The {suite.title} does not ask about the class {name!r}. If the image shows none of its "
        f"classes, say {NO_CLASS!r}.",
        name=name,
    )


def suite_form(platform: Platform, *, suite: str, pixels: Digest) -> Digest:
    """Return the artifact of an image of a suite.

    Raises SuiteNotFound, or ImageNotFound, also for one that was erased.
    """
    with platform.transactions(read_only=True) as work:
        manifest = read_remaining(work, platform.artifacts, work[Suites].newest(suite).manifest)
    for entry in manifest.entries:
        if entry.pixels == pixels:
            return entry.artifact
    raise ImageNotFound(pixels=pixels)
