"""Two versions' hits on the same query, answer by answer."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress

from core.evaluation.answers import RetrievalAnswers
from core.evaluation.queries import ClassQuery, RetrievalQuery, searches
from core.gate.changes import Changes, Edition, SoftFlips
from core.gate.intervals import Flips, deficit, design_effect, soft_effect
from core.gate.kinds import MeasureKind
from core.values import Digest, sha256


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
    truths: Sequence[str] = ()  # the class of each, in lower case; of captions what is told
    baseline: int = 0  # the number of the version before

    @property
    def formerly_right(self) -> "PairedHits":
        """The answers that the baseline had right."""
        return replace(self.only(self.before), viewed=None)

    @property
    def changed(self) -> Sequence[int]:
        """The change of each answer: 1, 0 or -1."""
        return [now - before for now, before in zip(self.now, self.before, strict=True)]

    @property
    def rows(self) -> Sequence["_Hit"]:
        """The answers one by one."""
        viewed: Sequence[int | None] = self.viewed or [None] * len(self.now)
        truths = self.truths or [""] * len(self.now)
        columns = self.now, self.before, self.groups, self.editions, viewed, truths
        return [*zip(*columns, strict=True)]

    def at(self, places: Sequence[int]) -> "PairedHits":
        """Return the hits on the answers at some places."""
        kept = {*places}
        return self.only([place in kept for place in range(len(self.now))])

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
            baseline=self.baseline,
        )

    def as_it_grew(self) -> Iterator[tuple[int, "PairedHits", "PairedHits"]]:
        """Yield each edition before the newest, oldest first: the hits on it, and those since."""
        for number in sorted(set(self.editions))[:-1]:
            earlier = [one <= number for one in self.editions]
            yield number, self.only(earlier), self.only([not one for one in earlier])

    def earlier_editions(self, alpha: float) -> Iterator[Edition]:
        """Yield the editions before the newest, oldest first."""
        for number, earlier, added in self.as_it_grew():
            yield Edition(number=number, earlier=earlier.changes(alpha), added=added.changes(alpha))

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
    """Yield the hits among the first `depth` in both directions of retrieval.

    What an image shows is the caption that most images have, so that one of its own, such as a
    number, does not tell it apart.
    """
    told = Counter(text for entry in query.entries for text in {*entry.texts})
    shown = [max(entry.texts, key=lambda text: told[text]) for entry in query.entries]
    yield (
        MeasureKind.IMAGE_TO_TEXT,
        PairedHits(
            now=_among_first(depth, now.image_ranks),
            before=_among_first(depth, before.image_ranks),
            groups=[entry.group for entry in query.entries],
            editions=[entry.edition for entry in query.entries],
            truths=shown,
        ),
    )
    yield (
        MeasureKind.TEXT_TO_IMAGE,
        PairedHits(
            now=_among_first(depth, now.caption_ranks),
            before=_among_first(depth, before.caption_ranks),
            groups=[entry.group for entry in query.entries for _ in entry.texts],
            editions=[entry.edition for entry in query.entries for _ in entry.texts],
            truths=[
                what for what, entry in zip(shown, query.entries, strict=True) for _ in entry.texts
            ],
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
        truths=[truth for one in each for truth in one.truths],
    )


def _among_first(depth: int, ranks: Sequence[int]) -> list[bool]:
    return [rank < depth for rank in ranks]


def firsts(query: ClassQuery | RetrievalQuery, *, by_class: bool = False) -> Sequence[int]:
    """Return the places of the images that count: the first of each group of near-duplicates.

    Or of each class in a group. The first came with the earliest edition, and in that is no
    near-duplicate of an older one, or has the smallest digest; so it is the same whatever versions
    answer, and no copy that is added can take its place.
    """
    found: dict[tuple[Digest, str], int] = {}
    for place, group in _oldest_first(query, by_class=by_class):
        found.setdefault(group, place)
    return sorted(found.values())


def lasts(query: ClassQuery | RetrievalQuery, *, by_class: bool = False) -> Sequence[int]:
    """Return the place of the last image of each group of several, or of each class in one."""
    found = {group: place for place, group in _oldest_first(query, by_class=by_class)}
    return sorted({*found.values()} - {*firsts(query, by_class=by_class)})


def _oldest_first(
    query: ClassQuery | RetrievalQuery, *, by_class: bool
) -> Iterator[tuple[int, tuple[Digest, str]]]:
    """Yield the place of each image, with its group, or with that of its class in the group."""
    entries = query.entries
    truths = query.truths if by_class and isinstance(query, ClassQuery) else [""] * len(entries)

    def age(place: int) -> tuple[int, bool, Digest]:
        entry = entries[place]
        return entry.edition, entry.near_duplicate_of is not None, entry.pixels

    for place in sorted(range(len(entries)), key=age):
        yield place, (entries[place].group, truths[place])


def one_a_group(parts: Iterable[tuple[ClassQuery, PairedHits]], *, by_class: bool) -> PairedHits:
    """Return the hits on one or several queries as those on one, an answer for each group.

    Those on views are kept if all have them. Of near-duplicates in one query the first counts. So
    an image in bursts weighs no more than any other.

    Contributors choose by which class they teach. So with `by_class`, for holdouts of earlier
    updates, the first image of each class in each query is looked at, and a group that was taught
    several times counts as lost if one of these is lost; else as right before and now, if one is;
    else as gained. Whoever teaches images or copies of them again, by any class, then neither hides
    that they were lost nor makes them a smaller part of the whole.

    Where each query has another version before, those of the oldest count alone: of an image that
    is taught with every update, chance would lose one against some version or other.
    """
    found: _Found = {}
    views = 0
    for query, hits in parts:
        rows = hits.rows
        for place in firsts(query, by_class=by_class):
            of_group = found.setdefault((hits.groups[place], ""), {})
            of_group.setdefault(hits.baseline, []).append(rows[place])
        views = hits.views
    return _worst_of_each(found, views)


def first_of_each_class(query: ClassQuery, hits: PairedHits) -> PairedHits | None:
    """Return the hits on the first image of each class in each group of near-duplicates.

    None if no group shows several classes.
    """
    first = firsts(query, by_class=True)
    return hits.at(first) if len(first) > len(firsts(query)) else None


def last_of_each_class(query: ClassQuery, hits: PairedHits) -> PairedHits | None:
    """Return the hits on the last image of each class in each group of near-duplicates.

    A last one is left out where it is the first; None if no others are left. Without these,
    pictures of a scene that came later, as by a camera that has got dusty, would count nowhere by
    themselves.
    """
    last = lasts(query, by_class=True)
    return hits.at(last) if last else None


def captions_of_one_a_group(
    parts: Iterable[tuple[RetrievalQuery, PairedHits]], direction: MeasureKind
) -> PairedHits:
    """Return the hits of one direction on one or several queries, of one image for each group.

    That is the first in each query, with its captions, which are one cluster. Of several queries
    together, as many captions of each image count as every one has, so that an update with many of
    each weighs no more than one with a single one: the first by their digests, whatever the
    versions answer. An image, or its first caption, its second and so on, that several queries have
    is lost if one of these is lost, as in `one_a_group`.
    """
    found: _Found = {}
    each = [(query, hits, set(firsts(query))) for query, hits in parts]
    captions = [{*query.entries[at].texts} for query, _, counted in each for at in counted]
    several, fewest = len(each) > 1, min(map(len, captions))
    for query, hits, counted in each:
        rows = hits.rows
        for answer, (place, text) in enumerate(searches(query, direction)):
            key = _by_digest(query.entries[place].texts).index(text) if several and text else text
            if place in counted and (isinstance(key, str) or key < fewest):
                of_group = found.setdefault((hits.groups[answer], key), {})
                of_group.setdefault(hits.baseline, []).append(rows[answer])
    return _worst_of_each(found)


@lru_cache(maxsize=10_000)
def _by_digest(captions: tuple[str, ...]) -> Sequence[str]:
    return sorted({*captions}, key=lambda one: sha256(one.encode()))


def _worst_of_each(found: "_Found", views: int = 0) -> PairedHits:
    oldest = [of_group[min(of_group)] for of_group in found.values()]
    counted = [max(reversed(each), key=lambda hit: tells(*hit[:2])) for each in oldest]
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

# Those on each group, or on a caption of it, by the number of the version before.
_Found = dict[tuple[Digest, str | int], dict[int, list[_Hit]]]


def tells(now: bool, before: bool) -> tuple[bool, bool]:
    """Return how much a hit tells of an image that was taught several times: the largest counts."""
    return before, now != before
