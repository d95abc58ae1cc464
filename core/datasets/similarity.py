"""Near-duplicates by thumbnails, in memory: the search is exact, and compares few of all pairs.

`NEAR` bounds the fourth powers of the differences of two thumbnails, so by the power mean
inequality it also bounds their squares, and with these the distance of any orthogonal projection.
Thumbnails are therefore searched as points: a few coordinates of low frequency, which hold most of
what pictures differ in. Points that are close by are in one leaf of a k-d tree. All points that are
sought go down this tree at once, and at each node only those that are not too far from its box.
The few that reach the same points are compared with them by products of matrices, and what is left
by its thumbnails.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.datasets.image_lists import NEAR, THUMBNAIL_SIDE, SimilarImage
from core.values import Digest, ignore_progress

_CHANNELS = 3
_VALUES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * _CHANNELS
_MOST_FOURTHS = int(NEAR**4 * _VALUES)  # the sum of fourth powers of near-duplicates
_MOST_DIFFERENCE = int(_MOST_FOURTHS**0.25) + 1  # of one value; more counts as this
_MOST_SQUARES = NEAR**2 * _VALUES

# Single precision computes half a squared distance of two points with an error of at most 17
# roundings of 2^-24 of what it adds up, at most twice the largest square of a centred thumbnail,
# 192 * 127.5^2: less than 7.
_LEAST_PRODUCT = np.float32(-_MOST_SQUARES / 2 - 16)

_LEAF = 128  # points, at most
_SOUGHT = 32_768  # points that go down a tree at once
_FEW = 2**18  # pairs of points that are compared without going further down
# Products as small as this are computed by one thread: OpenBLAS wakes others for more than 2^18
# multiplications, and they would spin between these products for much longer than these take.
_ASKING, _ASKED = 64, 128  # points of a product
_SETTLING = 256  # points between which it is seen what is settled

_PAIRS = 16_384  # of thumbnails that are compared at once
_DIGEST = "S32"  # sorts groups; what is shown of them comes from their bytes

Bytes = NDArray[np.uint8]
Truths = NDArray[np.bool_]
Points = NDArray[np.float32]
Numbers = NDArray[np.int64]
Pairs = tuple[Numbers, Numbers, Numbers]  # rows of two sets, and the sums of fourth powers


def _frequencies() -> NDArray[np.float64]:
    """Return orthonormal columns, shape (192, 14): cosines of low frequency in opponent colours."""
    place = np.arange(THUMBNAIL_SIDE) + 0.5
    waves = [np.cos(np.pi * place * order / THUMBNAIL_SIDE) for order in range(THUMBNAIL_SIDE)]
    grey, red, blue = (1, 1, 1), (1, -1, 0), (1, 1, -2)
    chosen = [
        (colour, down, along)
        for colour, most in ((grey, 2), (red, 1), (blue, 1))
        for down in range(most + 1)
        for along in range(most + 1)
        if down + along <= most
    ]
    chosen += [(grey, 1, 2), (grey, 2, 1)]
    columns = [
        np.einsum("i,j,c->ijc", waves[down], waves[along], np.array(colour, float)).ravel()
        for colour, down, along in chosen
    ]
    return np.stack([column / np.linalg.norm(column) for column in columns], axis=1)


_WAVES = _frequencies()
_COORDINATES = _WAVES.shape[1]
_FAR = np.array([[0] * _COORDINATES + [1, -1e30]], np.float32)  # is near to none
_SWAPPED = [*range(_COORDINATES), -1, -2]


# A set of thumbnails, as a tree of points.


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """Thumbnails in the order of their leaves.

    The product of what `asking` and `asked` hold of two points is minus half their squared
    distance.
    """

    rows: Numbers  # the place of each thumbnail among those that the tree was made of
    thumbnails: Bytes  # (n, 192)
    asking: Points  # (n + 1, 16): coordinates, minus half their squares, and 1; the last is far
    asked: Points  # (n + 1, 16): coordinates, 1, and minus half their squares; likewise
    starts: Numbers  # of the leaves, and the end of the last one
    boxes: Sequence[tuple[Points, Points]]  # of the nodes at each level, the leaves' last

    @classmethod
    def of(cls, thumbnails: Bytes) -> Self:
        """Return the tree of thumbnails, shape (n, 192)."""
        count = len(thumbnails)
        points = np.empty((count, _COORDINATES), np.float32)
        for start in range(0, count, _PAIRS):
            some = thumbnails[start : start + _PAIRS, None] - 127.5  # a product for each
            points[start : start + _PAIRS] = (some @ _WAVES)[:, 0]
        full = (count - 1) // _LEAF  # leaves, beside the last one
        leaves = list(_leaves(points, np.arange(count), full.bit_length())) if count else []
        rows = np.concatenate([np.empty(0, np.int64), *leaves])
        starts = np.cumsum([0, *map(len, leaves)])
        points = points[rows]
        halves = np.square(points, dtype=np.float64).sum(axis=1).astype(np.float32) / -2
        ones = np.ones_like(halves)
        return cls(
            rows=rows,
            thumbnails=thumbnails[rows],
            asking=np.vstack([np.column_stack([points, halves, ones]), _FAR[:, _SWAPPED]]),
            asked=np.vstack([np.column_stack([points, ones, halves]), _FAR]),
            starts=starts,
            boxes=_boxes(points, starts) if count else [],
        )

    def in_given_order(self) -> Bytes:
        """Return the thumbnails as they were given."""
        given = np.empty_like(self.thumbnails)
        given[self.rows] = self.thumbnails
        return given

    def range(self, level: int, node: int) -> tuple[int, int]:
        """Return the first of the points below a node, and their end."""
        below = len(self.boxes) - 1 - level  # levels
        return int(self.starts[node << below]), int(self.starts[(node + 1) << below])


def _boxes(points: Points, starts: Numbers) -> Sequence[tuple[Points, Points]]:
    """Return the least and the largest coordinates below the nodes at each level."""
    lows = np.minimum.reduceat(points, starts[:-1])
    highs = np.maximum.reduceat(points, starts[:-1])
    levels = [(lows, highs)]
    while len(lows) > 1:
        lows, highs = np.minimum(lows[::2], lows[1::2]), np.maximum(highs[::2], highs[1::2])
        levels.append((lows, highs))
    return levels[::-1]


def _leaves(points: Points, rows: Numbers, depth: int) -> Iterator[Numbers]:
    """Halve rows of points so many times, always where they reach furthest."""
    if not depth:
        yield rows
        return
    own = points[rows]
    column = own[:, np.argmax(np.ptp(own, axis=0))]
    middle = len(rows) // 2
    divided = rows[np.argpartition(column, middle)]
    yield from _leaves(points, divided[:middle], depth - 1)
    yield from _leaves(points, divided[middle:], depth - 1)


def _ignore(done: int) -> None:
    del done


def _near(
    one: _Tree,
    other: _Tree,
    advance: Callable[[int], object] = _ignore,
    settled: Truths | None = None,
) -> Iterator[Pairs]:
    """Yield the pairs of near-duplicates of two trees; of one tree and itself, each pair once.

    `advance` is called with the number of thumbnails of `one` that are done. Of one tree and
    itself, the caller may set places in `settled` as pairs come: pairs of two points that are
    settled may be left out.
    """
    for start in range(0, len(one.rows) if len(other.rows) else 0, _SOUGHT):
        sought = np.arange(start, min(start + _SOUGHT, len(one.rows)))
        for reaching, first, last in _reached(one, sought, other, 0, 0):
            advance(start)
            asked = _filled(np.arange(first, last), _ASKED, len(other.rows))
            size = len(reaching) if settled is None else _SETTLING
            for at in range(0, len(reaching), size):
                some = reaching[at : at + size]
                if settled is not None and settled[first:last].all():
                    some = some[~settled[some]]
                asking = _filled(some, _ASKING, len(one.rows))
                products = one.asking[asking][:, None] @ other.asked[asked].swapaxes(1, 2)
                found = np.flatnonzero(products >= _LEAST_PRODUCT)
                these, those, row, column = np.unravel_index(found, products.shape)
                mine, theirs = asking[these, row], asked[those, column]
                if one is other:
                    mine, theirs = mine[theirs > mine], theirs[theirs > mine]
                yield from _compared(one, other, mine, theirs)


def _reached(
    one: _Tree, sought: Numbers, other: _Tree, level: int, node: int
) -> Iterator[tuple[Numbers, int, int]]:
    """Yield points of one tree with the ends of those of another that may be near to them.

    The first are sorted and go down from a node of the other tree. In the same tree, they reach
    those behind them alone.
    """
    first, last = other.range(level, node)
    if one is other:
        sought = sought[: np.searchsorted(sought, last - 1)]
    lows, highs = other.boxes[level]
    points = one.asking[sought, :_COORDINATES]
    apart = np.maximum(np.maximum(lows[node] - points, points - highs[node]), 0)
    sought = sought[np.einsum("ij,ij->i", apart, apart) <= -2 * _LEAST_PRODUCT]
    if not len(sought):
        return
    if level == len(other.boxes) - 1 or len(sought) * (last - first) <= _FEW:
        yield sought, first, last
        return
    for child in (2 * node, 2 * node + 1):
        yield from _reached(one, sought, other, level + 1, child)


def _filled(points: Numbers, size: int, far: int) -> Numbers:
    """Return points in rows of a size, the last of which is filled up with one far from all."""
    return np.append(points, np.full(-len(points) % size, far)).reshape(-1, size)


def _compared(one: _Tree, other: _Tree, mine: Numbers, theirs: Numbers) -> Iterator[Pairs]:
    """Yield those pairs of two trees whose thumbnails are near-duplicates."""
    for start in range(0, len(mine), _PAIRS):
        left, right = mine[start : start + _PAIRS], theirs[start : start + _PAIRS]
        sums = _fourths(one.thumbnails[left], other.thumbnails[right])
        near = np.flatnonzero(sums <= _MOST_FOURTHS)
        yield one.rows[left[near]], other.rows[right[near]], sums[near].astype(np.int64)


def _fourths(these: Bytes, those: Bytes) -> Points:
    """Return the sums of the fourth powers of differences, of thumbnails row by row.

    Those of up to 2^24 are exact in single precision, and larger ones stay larger.
    """
    apart = np.maximum(these, those) - np.minimum(these, those)
    squares = np.square(np.minimum(apart, _MOST_DIFFERENCE), dtype=np.float32)
    found: Points = np.einsum("ij,ij->i", squares, squares)
    return found


def distance_of(fourths: int) -> float:
    """Return the distance of two thumbnails by the sum of the fourth powers of differences."""
    return float(np.sqrt(np.sqrt(fourths / _VALUES)))


def decode(thumbnails: Collection[str]) -> Bytes:
    """Parse hexadecimal thumbnails into an array with one row each."""
    found, rest = np.empty((len(thumbnails), _VALUES), np.uint8), iter(thumbnails)
    for start in range(0, len(found), _PAIRS):
        some = bytes.fromhex("".join(islice(rest, _PAIRS)))
        found[start : start + _PAIRS] = np.frombuffer(some, np.uint8).reshape(-1, _VALUES)
    return found


# The images of a database.


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some images in the order in which they were added."""

    tree: _Tree
    groups: Bytes  # (n, 32): digests

    @classmethod
    def of(cls, thumbnails: Bytes, groups: Bytes) -> Self:
        return cls(tree=_Tree.of(thumbnails), groups=groups)

    def joined(self, later: Self) -> Self:
        both = np.concatenate([self.tree.in_given_order(), later.tree.in_given_order()])
        return self.of(both, np.concatenate([self.groups, later.groups]))


class ThumbnailIndex:
    """Similar images by their thumbnails; it never changes.

    Each of its parts is at most half as large as the one before, so that there are few of them, and
    an image is put into few trees, however many come after it.
    """

    def __init__(self, parts: Sequence[_Part] = (), *, position: int = 0) -> None:
        self.position = position
        self._parts = parts

    @classmethod
    def of(cls, pages: Iterable[Sequence[tuple[int, str, str]]], *, position: int = 0) -> Self:
        """Return the index of images: their positions, the oldest of their groups, thumbnails.

        They come in pages, of which one at a time is in memory as text; `position` is that of an
        index of none.
        """
        groups, thumbnails = list[Bytes](), list[Bytes]()
        for page in pages:
            hexadecimal = "".join(group for _, group, _ in page)
            groups.append(np.frombuffer(bytes.fromhex(hexadecimal), np.uint8).reshape(-1, 32))
            thumbnails.append(decode([thumbnail for *_, thumbnail in page]))
            position = page[-1][0]
        if not groups:
            return cls(position=position)
        part = _Part.of(np.concatenate(thumbnails), np.concatenate(groups))
        return cls([part], position=position)

    def near(
        self,
        thumbnails: Iterable[str],
        progress: Callable[[int, int], object] = ignore_progress,
    ) -> dict[str, list[SimilarImage]]:
        """Return what is at most NEAR from each thumbnail that has such: of a group the nearest.

        `progress` is called with how much of the search is done, and with all of it.
        """
        asked = list(thumbnails)
        tree, nearest = _Tree.of(decode(asked)), dict[tuple[int, bytes], int]()
        whole = len(asked) * len(self._parts)
        for number, part in enumerate(self._parts):

            def advance(done: int, before: int = number * len(asked)) -> None:
                progress(before + done, whole)

            for mine, theirs, sums in _near(tree, part.tree, advance):
                _note_nearest(nearest, mine, part.groups[theirs], sums)
        found: dict[str, list[SimilarImage]] = {}
        for (number, group), fourths in nearest.items():
            similar = SimilarImage(group=Digest(group.hex()), distance=distance_of(fourths))
            found.setdefault(asked[number], []).append(similar)
        return found

    def followed_by(self, later: Self) -> Self:
        """Return an index of these images and later ones, without changing either."""
        parts = list(self._parts)
        for part in later._parts:
            parts.append(part)
            while len(parts) > 1 and len(parts[-2].groups) < 2 * len(parts[-1].groups):
                last = parts.pop()
                parts[-1] = parts[-1].joined(last)
        return type(self)(parts, position=later.position)


def _note_nearest(
    nearest: dict[tuple[int, bytes], int], mine: Numbers, groups: Bytes, sums: Numbers
) -> None:
    """Keep the least sum for each thumbnail and group."""
    if not len(mine):
        return
    names = np.ascontiguousarray(groups).view(_DIGEST).ravel()
    order = np.lexsort((sums, names, mine))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(mine[order]) != 0) | (names[order][1:] != names[order][:-1])
    for place in order[first]:
        key, fourths = (int(mine[place]), groups[place].tobytes()), int(sums[place])
        nearest[key] = min(fourths, nearest.get(key, fourths))


# Images that arrive together.

MOST_KEPT = 64  # near-duplicates of a thumbnail; of one with more, they are searched again


class Arrivals:
    """Thumbnails that arrive together, compared with each other.

    What is kept of this is bounded by their number: one with more than `MOST_KEPT` near-duplicates,
    such as a film has, is crowded. Two that are crowded need not be compared here, as the
    near-duplicates of each are searched again when they are asked for.
    """

    def __init__(
        self,
        thumbnails: Iterable[str],
        progress: Callable[[int, int], object] = ignore_progress,
    ) -> None:
        """Compare them; equal ones are one, and `progress` is as of `ThumbnailIndex.near`."""
        self.numbers = {one: number for number, one in enumerate(dict.fromkeys(thumbnails))}
        self.tree = tree = _Tree.of(decode(self.numbers))
        count = len(self.numbers)
        self.places = np.empty(count, np.int64)  # in the tree
        self.places[tree.rows] = np.arange(count)

        def advance(done: int) -> None:
            progress(done, count)

        counts, kept = np.zeros(count, np.int64), [np.empty((0, 3), np.int32)]
        crowded = np.zeros(count, bool)  # by places
        for mine, theirs, sums in _near(tree, tree, advance, crowded):
            if not len(mine):
                continue
            np.add.at(counts, mine, 1)
            np.add.at(counts, theirs, 1)
            for one, other in ((mine, theirs), (theirs, mine)):
                few = counts[one] <= MOST_KEPT
                crowded[self.places[one[~few]]] = True
                kept.append(np.stack([one, other, sums], axis=1)[few].astype(np.int32))
        self._crowded = crowded[self.places]
        pairs = np.concatenate(kept)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        self._pairs = pairs[:, 1:]
        self._starts = np.searchsorted(pairs[:, 0], np.arange(count + 1))

    def pairs_of(self, number: int) -> tuple[Numbers, Numbers] | None:
        """Return a thumbnail's near-duplicates and the sums of fourths; None if it is crowded."""
        if self._crowded[number]:
            return None
        others, sums = self._pairs[self._starts[number] : self._starts[number + 1]].T
        return others.astype(np.int64), sums.astype(np.int64)


class Placing:
    """The groups of arrivals, which are placed one after another."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._groups: list[Digest] = []
        self._indices: dict[Digest, int] = {}  # in these
        self._placed = np.full(len(arrivals.numbers), -1)  # the index of each thumbnail's group

    def put(self, number: int, group: Digest) -> None:
        """Place a thumbnail in a group."""
        index = self._indices.setdefault(group, len(self._groups))
        if index == len(self._groups):
            self._groups.append(group)
        self._placed[number] = index

    def near(self, number: int, beside: Collection[Digest] = ()) -> list[SimilarImage]:
        """Return the groups of the placed thumbnails that one is near to.

        Each comes with the least distance of its thumbnails. If it is a single group, and `beside`
        has no other, the distance decides nothing, and may be that of any of its thumbnails.
        """
        pairs = self._arrivals.pairs_of(number)
        nearest = self._nearest(*pairs) if pairs else self._searched(number, beside)
        if (own := self._placed[number]) >= 0:
            nearest[int(own)] = 0
        return [
            SimilarImage(group=self._groups[index], distance=distance_of(fourths))
            for index, fourths in nearest.items()
        ]

    def _nearest(self, others: Numbers, sums: Numbers) -> dict[int, int]:
        """Return the least sum of each group, by its index."""
        nearest: dict[int, int] = {}
        for index, fourths in zip(self._placed[others].tolist(), sums.tolist(), strict=True):
            if index >= 0:
                nearest[index] = min(fourths, nearest.get(index, fourths))
        return nearest

    def _searched(self, number: int, beside: Collection[Digest]) -> dict[int, int]:
        """Return what `_nearest` does, of a crowded thumbnail, whose neighbours are searched now.

        The one that was placed last is compared first: of a film it is the frame before, and if all
        others are in its group, no more are compared.
        """
        numbers = self._arrivals.tree.rows[self._may_be_near(number)]
        left = numbers[self._placed[numbers] >= 0]
        if len(left):
            group = self._placed[last := left.max()]
            near, sums = self._compared(number, left[left == last])
            if len(near) and {self._groups[group]}.issuperset(beside):
                others, _ = self._compared(number, left[self._placed[left] != group])
                if not len(others):
                    return self._nearest(near, sums)
        return self._nearest(*self._compared(number, left))

    def _may_be_near(self, number: int) -> Numbers:
        """Return the places of the thumbnails whose points are not too far from that of one."""
        tree, place = self._arrivals.tree, self._arrivals.places[number : number + 1]
        found = [np.empty(0, np.int64)]
        own = _Tree.of(tree.thumbnails[place])
        for _, first, last in _reached(own, np.zeros(1, np.int64), tree, 0, 0):
            products = np.einsum("ij,j->i", tree.asked[first:last], own.asking[0])
            found.append(first + np.flatnonzero(products >= _LEAST_PRODUCT))
        return np.concatenate(found)

    def _compared(self, number: int, others: Numbers) -> tuple[Numbers, Numbers]:
        """Return those of some thumbnails that one is near to, and the sums of fourths."""
        tree, places = self._arrivals.tree, self._arrivals.places
        mine = tree.thumbnails[places[number]][None]
        kept = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for start in range(0, len(others), _PAIRS):
            some = others[start : start + _PAIRS]
            sums = _fourths(mine, tree.thumbnails[places[some]])
            near = sums <= _MOST_FOURTHS
            kept.append((some[near], sums[near].astype(np.int64)))
        near_numbers, all_sums = zip(*kept, strict=True)
        return np.concatenate(near_numbers), np.concatenate(all_sums)
