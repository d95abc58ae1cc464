"""Queries to a version: the class of each image, or the captions and images of a gallery."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from types import MappingProxyType

from core.datasets.manifests import ManifestEntry
from core.gate.kinds import MeasureKind
from core.recipes.fields import PromptTemplate
from core.rejection.queries import CalibrationQuery
from core.values import Digest, canonical_json, sha256

NO_MEANINGS: Mapping[str, str] = MappingProxyType({})


def meaning_of(name: str, meanings: Mapping[str, str] = NO_MEANINGS) -> str:
    """Return the one name for all that a policy calls the same, in lower case."""
    return meanings.get(name.lower(), name.lower())


@dataclass(frozen=True, kw_only=True)
class ClassQuery:
    """A query for the class of each image, which is in `classes`, or a name that means the same.

    Each image is also asked about in so many `views`: crops of it, of which some are mirrored if
    `mirror` says that a mirror image shows the same class.
    """

    entries: tuple[ManifestEntry, ...]
    classes: tuple[str, ...]
    prompt: PromptTemplate
    views: int = 0
    mirror: bool = False

    @cached_property
    def digest(self) -> Digest:
        """Identifies the query by images in order, classes, prompt, and whether views are mirrored.

        Not by the number of views: answers to more of them begin with those to fewer.
        """
        pixels = [[entry.pixels, entry.class_name] for entry in self.entries]
        asked = ["class", pixels, list(self.classes), self.prompt.text]
        return sha256(canonical_json([*asked, "mirror"] if self.mirror else asked))

    @cached_property
    def truths(self) -> tuple[str, ...]:
        """The class of each image in lower case: names that differ only in case are one class."""
        return tuple(entry.class_name.lower() for entry in self.entries)

    def only(self, kept: Sequence[bool]) -> "ClassQuery":
        """Return the query on some of the images."""
        return replace(self, entries=tuple(compress(self.entries, kept)))

    def choices(self, meanings: Mapping[str, str]) -> int:
        """Return the number of classes to choose from; those that mean the same are one."""
        return len({meaning_of(name, meanings) for name in self.classes})


@dataclass(frozen=True, kw_only=True)
class RetrievalQuery:
    """A query for the captions of each image and the image of each caption.

    The gallery is all entries. Captions are in the order of the entries, then of their texts.
    """

    entries: tuple[ManifestEntry, ...]

    @cached_property
    def digest(self) -> Digest:
        """Identifies the query by images and captions in order."""
        rows = [[entry.pixels, list(entry.texts)] for entry in self.entries]
        return sha256(canonical_json(["retrieval", rows]))


def probabilities_of(query: Digest) -> Digest:
    """Return what the probabilities of a query's answers are stored under.

    They are stored apart from the answers, by which alone versions are judged.
    """
    return sha256(f"probabilities {query}".encode())


def views_of(query: Digest) -> Digest:
    """Return what the answers to a query's views are stored under: apart, like probabilities."""
    return sha256(f"views {query}".encode())


EvalQuery = ClassQuery | RetrievalQuery | CalibrationQuery


def list_of_images(query: EvalQuery) -> bytes:
    """Return the images of a query as they are stored beside its answers, for erasures."""
    return canonical_json(sorted({entry.pixels for entry in query.entries}))


@dataclass(frozen=True, kw_only=True)
class NamedQuery:
    """A query on the test images of a suite or of a holdout, with that one's own class list."""

    name: str  # the suite, or "version 2": the holdout of its update
    holdout: bool = False
    query: EvalQuery

    @property
    def kind(self) -> MeasureKind:
        """The kind of measure that counts its right answers; for captions, image to text."""
        if isinstance(self.query, RetrievalQuery):
            return MeasureKind.IMAGE_TO_TEXT
        return MeasureKind.HOLDOUT if self.holdout else MeasureKind.ZERO_SHOT


def asks_for(query: NamedQuery, class_name: str, meanings: Mapping[str, str] = NO_MEANINGS) -> bool:
    """Return whether a query has an image of a class, by this name or one that means the same."""
    if not isinstance(query.query, ClassQuery):
        return False
    wanted = meaning_of(class_name, meanings)
    return any(meaning_of(one, meanings) == wanted for one in query.query.truths)


def searches(query: RetrievalQuery, direction: MeasureKind) -> Sequence[tuple[int, str]]:
    """Return the place of the image that each search is about, with its caption if it has one."""
    images = enumerate(query.entries)
    if direction is MeasureKind.IMAGE_TO_TEXT:
        return [(place, "") for place, _ in images]
    return [(place, text) for place, entry in images for text in entry.texts]


def found_by_one_answer(images: Sequence[ManifestEntry], direction: MeasureKind) -> int:
    """Return how many searches would be right if one caption, or one image, were found by all."""
    told = Counter(text for one in images for text in one.texts)
    if direction is MeasureKind.TEXT_TO_IMAGE:
        return max(sum(told[text] for text in {*one.texts}) for one in images)
    return max(Counter(text for one in images for text in {*one.texts}).values())
