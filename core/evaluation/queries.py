"""Queries to a version, and its answers, image by image."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from types import MappingProxyType
from typing import Any

from core.datasets.manifests import ManifestEntry
from core.gate.changes import Changes, Edition, SoftFlips
from core.gate.intervals import Flips, deficit, design_effect, soft_effect
from core.gate.kinds import MeasureKind
from core.recipes.fields import PromptTemplate
from core.rejection.queries import CalibrationQuery
from core.rejection.rules import Calibration
from core.values import Digest, Json, canonical_json, sha256


@dataclass(frozen=True, kw_only=True)
class ClassQuery:
    """A query for the class of each image; every entry's class is in `classes`, in any case.

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
        return len({meanings.get(name.lower(), name.lower()) for name in self.classes})


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


def asks_for(query: NamedQuery, class_name: str) -> bool:
    """Return whether a query has an image of a class."""
    return isinstance(query.query, ClassQuery) and class_name.lower() in query.query.truths


@dataclass(frozen=True, kw_only=True)
class ClassAnswers:
    """The class predicted for each image, as an index into the query's classes.

    If scores are NaN, there is no best class and the index is one past the last. `probabilities` of
    the predicted classes are for readers: nothing is judged by them. `views` holds the classes
    predicted for each view of the images, those of the first view first.
    """

    predicted: tuple[int, ...]
    probabilities: tuple[float, ...] | None = field(default=None, compare=False)
    views: tuple[tuple[int, ...], ...] = field(default=(), compare=False)

    def hits(
        self, query: ClassQuery, meanings: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[bool, ...]:
        """Return, image by image, whether the answer is right.

        Names that differ only in case are one class, so either is right. So is a name with
        the same meaning: `meanings` has one name for all of those, by each in lower case.
        """
        [hits] = _hits([self.predicted], query, meanings)
        return hits

    def view_hits(
        self, query: ClassQuery, meanings: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[int, ...] | None:
        """Return, image by image, how many answers to views of it are right.

        None if the query asks for no views, or some of these were not answered.
        """
        if not query.views or len(self.views) < query.views:
            return None
        hits = _hits(self.views[: query.views], query, meanings)
        return tuple(map(sum, zip(*hits, strict=True)))


def _hits(
    answers: Iterable[tuple[int, ...]], query: ClassQuery, meanings: Mapping[str, str]
) -> Iterator[tuple[bool, ...]]:
    lower = (name.lower() for name in query.classes)
    names: list[str | None] = [meanings.get(name, name) for name in lower]
    names.append(None)  # no class was best
    truths = [meanings.get(truth, truth) for truth in query.truths]
    for predicted in answers:
        yield tuple(names[one] == truth for one, truth in zip(predicted, truths, strict=True))


@dataclass(frozen=True, kw_only=True)
class RetrievalAnswers:
    """Ranks from 0: how many others scored higher (ties: the lower index goes first).

    `image_ranks[i]`: the best rank of a text of image i, in all captions.
    `caption_ranks[j]`: the best rank of an image with the text of caption j, in all images.
    If scores are NaN, there is no rank and it is one past the last.
    """

    image_ranks: tuple[int, ...]
    caption_ranks: tuple[int, ...]


def ranks_of(
    part: RetrievalQuery, whole: RetrievalQuery, answers: RetrievalAnswers
) -> RetrievalAnswers:
    """Return the ranks of the searches of one query among the images and captions of another.

    `answers` are to `whole`, which has all images of `part` with their captions.
    """
    images = {entry.pixels: place for place, entry in enumerate(whole.entries)}
    found = searches(whole, MeasureKind.TEXT_TO_IMAGE)
    captions = {(whole.entries[place].pixels, text): n for n, (place, text) in enumerate(found)}
    return RetrievalAnswers(
        image_ranks=tuple(answers.image_ranks[images[entry.pixels]] for entry in part.entries),
        caption_ranks=tuple(
            answers.caption_ranks[captions[entry.pixels, text]]
            for entry in part.entries
            for text in entry.texts
        ),
    )


Answers = ClassAnswers | RetrievalAnswers | Calibration


def are_finite(answers: Answers, query: EvalQuery) -> bool:
    """Return whether every image has a class, or every image and caption has a rank."""
    if isinstance(answers, Calibration):
        return True
    if isinstance(answers, RetrievalAnswers):
        images, captions = len(answers.image_ranks), len(answers.caption_ranks)
        return max(answers.image_ranks) < captions and max(answers.caption_ranks) < images
    classes = query.classes if isinstance(query, ClassQuery) else ()
    return max(answers.predicted) < len(classes)


def answers_to_json(answers: Answers) -> dict[str, Any]:
    """Return answers as plain JSON, for storage; without what is stored apart."""
    if isinstance(answers, Calibration):
        return answers.to_json()
    if isinstance(answers, ClassAnswers):
        return {"predicted": list(answers.predicted)}
    return {name: list(value) for name, value in vars(answers).items()}


def views_to_json(views: Iterable[Sequence[int]]) -> dict[str, Any]:
    """Return answers to views as plain JSON, for storage."""
    return {"views": [list(view) for view in views]}


def answers_from_json(value: Json) -> Answers:
    """Return the answers that `answers_to_json` wrote."""
    if "sources" in value:
        return Calibration.from_json(value)
    fields: dict[str, tuple[int, ...]] = {name: tuple(numbers) for name, numbers in value.items()}
    if "predicted" in fields:
        return ClassAnswers(predicted=fields["predicted"])
    return RetrievalAnswers(**fields)


# Two versions' hits on the same query, answer by answer.


@dataclass(frozen=True, kw_only=True)
class PairedHits:
    """The hits of the candidate and of a baseline, and the group of near-duplicates of each.

    `one_a_group` and `captions_of_one_a_group` leave the answers about one image of each group.
    `viewed` holds the change of the number of right answers to each image's `views`; None if a
    version has not answered these.
    """

    now: Sequence[bool]
    before: Sequence[bool]
    groups: Sequence[Digest]
    viewed: Sequence[int] | None = None
    views: int = 0
    editions: Sequence[int] = ()  # with which each image came
    truths: Sequence[str] = ()  # the class of each, in lower case; none of captions

    @property
    def formerly_right(self) -> "PairedHits":
        """The answers that the baseline had right."""
        return replace(self.only(self.before), viewed=None)

    @property
    def rows(self) -> Sequence["_Hit"]:
        """The answers one by one."""
        viewed: Sequence[int | None] = self.viewed or [None] * len(self.now)
        truths = self.truths or [""] * len(self.now)
        columns = self.now, self.before, self.groups, self.editions, viewed, truths
        return [*zip(*columns, strict=True)]

    def only(self, kept: Sequence[bool]) -> "PairedHits":
        """Return the hits on some of the answers."""
        return PairedHits(
            now=list(compress(self.now, kept)),
            before=list(compress(self.before, kept)),
            groups=list(compress(self.groups, kept)),
            viewed=None if self.viewed is None else list(compress(self.viewed, kept)),
            views=self.views,
            editions=list(compress(self.editions, kept)),
            truths=list(compress(self.truths, kept)),
        )

    def earlier_editions(self, alpha: float) -> Iterator[Edition]:
        """Yield the editions before the newest, oldest first."""
        for number in sorted(set(self.editions))[:-1]:
            earlier = [one <= number for one in self.editions]
            yield Edition(
                number=number,
                earlier=self.only(earlier).changes(alpha),
                added=self.only([not one for one in earlier]).changes(alpha),
            )

    def changes(self, alpha: float) -> Changes:
        """Return how the answers changed."""
        pairs = list(zip(self.now, self.before, strict=True))
        return Changes(
            distinct=self.distinct,
            count=len(pairs),
            gained=sum(now and not before for now, before in pairs),
            lost=sum(before and not now for now, before in pairs),
            design_effect=self.design_effect(alpha),
            soft=self.soft_flips(alpha),
        )

    @property
    def distinct(self) -> int:
        """The number of images, near-duplicates counted once."""
        return len(set(self.groups))

    def design_effect(self, alpha: float) -> float:
        """Return the factor by which answers that share a group inflate the variance."""
        if self.distinct == len(self.groups):
            return 1.0
        clusters: dict[Digest, list[int]] = {}  # answers, gained and lost of each group
        for group, new, old in zip(self.groups, self.now, self.before, strict=True):
            found = clusters.setdefault(group, [0, 0, 0])
            found[0] += 1
            found[1] += new and not old
            found[2] += old and not new
        flips = (Flips(count=n, gained=gained, lost=lost) for n, gained, lost in clusters.values())
        return design_effect(flips, alpha)

    def soft_flips(self, alpha: float) -> SoftFlips | None:
        """Return the sums of the changes of soft hits; None without views.

        Each answer is of a group of its own.
        """
        if self.viewed is None:
            return None
        singles = [new - old for new, old in zip(self.now, self.before, strict=True)]
        rows = zip(singles, self.viewed, strict=True)
        changes = [(single + viewed / self.views) / 2 for single, viewed in rows]
        beyond = [single - soft for single, soft in zip(singles, changes, strict=True)]
        return SoftFlips(
            views=self.views,
            gained=sum(max(0.0, change) for change in changes),
            lost=sum(max(0.0, -change) for change in changes),
            design_effect=soft_effect(changes, alpha),
            deficit=deficit(beyond),
        )


def top_1(
    query: ClassQuery,
    *,
    now: Sequence[bool],
    before: Sequence[bool],
    views_now: Sequence[int] | None = None,
    views_before: Sequence[int] | None = None,
) -> PairedHits:
    """Return two versions' hits on each image; their hits on views if both have them."""
    viewed = None
    if views_now is not None and views_before is not None:
        viewed = [new - old for new, old in zip(views_now, views_before, strict=True)]
    groups = [entry.group for entry in query.entries]
    return PairedHits(
        now=now,
        before=before,
        groups=groups,
        viewed=viewed,
        views=query.views,
        editions=[entry.edition for entry in query.entries],
        truths=query.truths,
    )


def found_within(
    query: RetrievalQuery, depth: int, *, now: RetrievalAnswers, before: RetrievalAnswers
) -> Iterator[tuple[MeasureKind, PairedHits]]:
    """Yield the hits among the first `depth` in both directions of retrieval."""
    yield (
        MeasureKind.IMAGE_TO_TEXT,
        PairedHits(
            now=_among_first(depth, now.image_ranks),
            before=_among_first(depth, before.image_ranks),
            groups=[entry.group for entry in query.entries],
            editions=[entry.edition for entry in query.entries],
        ),
    )
    yield (
        MeasureKind.TEXT_TO_IMAGE,
        PairedHits(
            now=_among_first(depth, now.caption_ranks),
            before=_among_first(depth, before.caption_ranks),
            groups=[entry.group for entry in query.entries for _ in entry.texts],
            editions=[entry.edition for entry in query.entries for _ in entry.texts],
        ),
    )


def together(parts: Iterable[PairedHits]) -> PairedHits:
    """Return the hits of several queries as those of one; each answer counts once."""
    each = list(parts)
    return PairedHits(
        now=[hit for one in each for hit in one.now],
        before=[hit for one in each for hit in one.before],
        groups=[group for one in each for group in one.groups],
        editions=[edition for one in each for edition in one.editions],
    )


def _among_first(depth: int, ranks: Sequence[int]) -> list[bool]:
    return [rank < depth for rank in ranks]


def firsts(query: ClassQuery | RetrievalQuery, *, by_class: bool = False) -> Sequence[int]:
    """Return the places of the images that count: the first of each group of near-duplicates.

    Or of each class in a group. The first came with the earliest edition, and in that is no
    near-duplicate of an older one, or has the smallest digest; so it is the same whatever versions
    answer, and no copy that is added can take its place.
    """
    entries, found = query.entries, dict[tuple[Digest, str], int]()
    truths = query.truths if by_class and isinstance(query, ClassQuery) else [""] * len(entries)

    def age(place: int) -> tuple[int, bool, Digest]:
        entry = entries[place]
        return entry.edition, entry.near_duplicate_of is not None, entry.pixels

    for place in sorted(range(len(entries)), key=age):
        found.setdefault((entries[place].group, truths[place]), place)
    return sorted(found.values())


def one_a_group(parts: Iterable[tuple[ClassQuery, PairedHits]], *, by_class: bool) -> PairedHits:
    """Return the hits on one or several queries as those on one, an answer for each group.

    Those on views are kept if all have them. Of near-duplicates in one query the first counts. So
    an image in bursts weighs no more than any other.

    Contributors choose by which class they teach. So with `by_class`, for holdouts of earlier
    updates, the first image of each class in each query is looked at, and a group that was taught
    several times counts as lost if one of these is lost; else as right before and now, if one is;
    else as gained. Whoever teaches images or copies of them again, by any class, then neither hides
    that they were lost nor makes them a smaller part of the whole.
    """
    found: dict[tuple[Digest, str], list[_Hit]] = {}
    views = 0
    for query, hits in parts:
        rows = hits.rows
        for place in firsts(query, by_class=by_class):
            found.setdefault((hits.groups[place], ""), []).append(rows[place])
        views = hits.views
    return _worst_of_each(found, views)


def captions_of_one_a_group(
    parts: Iterable[tuple[RetrievalQuery, PairedHits]], direction: MeasureKind
) -> PairedHits:
    """Return the hits of one direction on one or several queries, of one image for each group.

    That is the first in each query, with all its captions, which are one cluster. An image, or a
    caption of one group, that several queries have is lost if one of these is lost, as in
    `one_a_group`.
    """
    found: dict[tuple[Digest, str], list[_Hit]] = {}
    for query, hits in parts:
        counted, rows = set(firsts(query)), hits.rows
        for answer, (place, text) in enumerate(searches(query, direction)):
            if place in counted:
                found.setdefault((hits.groups[answer], text), []).append(rows[answer])
    return _worst_of_each(found)


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


def _worst_of_each(
    found: Mapping[tuple[Digest, str], Sequence["_Hit"]], views: int = 0
) -> PairedHits:
    counted = [max(reversed(each), key=lambda hit: tells(*hit[:2])) for each in found.values()]
    now, before, groups, editions, viewed, truths = zip(*counted, strict=True)
    changes = [change for change in viewed if change is not None]
    return PairedHits(
        now=now,
        before=before,
        groups=groups,
        editions=editions,
        truths=truths,
        viewed=changes if len(changes) == len(found) else None,
        views=views,
    )


# Right now, right before, the group, the edition, the change over views, and the class.
_Hit = tuple[bool, bool, Digest, int, int | None, str]


def tells(now: bool, before: bool) -> tuple[bool, bool]:
    """Return how much a hit tells of an image that was taught several times: the largest counts."""
    return before, now != before
