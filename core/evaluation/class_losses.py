"""Losses of each single class, since all versions that a candidate is compared with."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from core.evaluation.comparison import Comparison, name_of
from core.evaluation.comparisons import comparisons
from core.evaluation.exams import ClassExam
from core.evaluation.other_classes import editions_of
from core.evaluation.paired_hits import (
    PairedHits,
    first_of_each_class,
    firsts,
    last_of_each_class,
    lasts,
    tells,
)
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import RetrievalQuery, meaning_of, searches
from core.evaluation.results import EvaluationResults
from core.gate.changes import ClassMean, Losing, surely
from core.gate.classes import ClassLoss
from core.gate.intervals import Flips
from core.gate.kinds import LIVE, PARENT, SUITES, ClassList, MeasureKind
from core.values import Digest


def class_losses(results: EvaluationResults) -> Iterator[ClassLoss]:
    """Yield each class of suites, of earlier holdouts over both lists, and of the own holdout.

    Of small holdouts together, of all suites, and of holdouts of any size beside parent and live
    version, each class that several of them show is yielded once more, by its images in all of
    these. Where classes of suites and learned ones compete, none is compared: a name that overlaps
    with a class may take all of it, and be right. Nor is any over default lists, which differ.
    """
    judged = _judged_by_class(comparisons(results.plan))
    small = [
        (one.asked, one.own_prompts, one.pairs)
        for one in judged
        if one.kind is MeasureKind.HOLDOUTS
    ]
    together = (joined for _, joined in _joined(results.plan, judged))
    others = (one for one in together if (one.asked, one.own_prompts, one.pairs) not in small)
    for one in (*judged, *others):
        yield from _of_each(results, one)


def joined_losing(
    results: EvaluationResults, compared: Sequence[Comparison]
) -> Iterator[tuple[Comparison, Losing]]:
    """Yield the change on images of classes that several suites or holdouts show, which lose.

    Each comes with the first of the comparisons that are joined which shows such a class: of suites
    over newer lists, too, and by all images as by those of each earlier edition. See `losing`.
    """
    newer = [one for one in compared if one.kind in SUITES and one.asked is ClassList.UNION]
    judged = [*_judged_by_class(compared), *(one for one in newer if _is_of_classes(one))]
    for members, joined in _joined(results.plan, judged):
        shown = [_meanings_shown(results, one) for one in members]
        often = Counter(name for names in shown for name in names)
        for hits in editions_of(results.paired(joined)):
            changes = [one for one in _changes(results, hits) if often[one[0]] > 1]
            if (found := _worst_losing(results, joined, changes)) is not None:
                first = next(
                    one
                    for one, names in zip(members, shown, strict=True)
                    if any(often[name] > 1 for name in names)
                )
                yield first, replace(found, joined=True)


def _meanings_shown(results: EvaluationResults, one: Comparison) -> set[str]:
    """Return the classes of a comparison's images."""
    return {
        meaning_of(entry.class_name, results.meanings)
        for exam, _ in one.pairs
        for entry in exam.own.entries
    }


def _judged_by_class(compared: Iterable[Comparison]) -> Sequence[Comparison]:
    """Return the comparisons of which each single class is judged."""
    judged: list[Comparison] = []
    for one in compared:
        overlaps = one.asked in {ClassList.WITH_SUITES, ClassList.DEFAULT}
        overlaps |= one.kind in SUITES and one.asked is ClassList.UNION
        again = one.kind is MeasureKind.HOLDOUTS and one.pooled  # in a larger pool, too
        if _is_of_classes(one) and not (overlaps or again):
            judged.append(one)
    return judged


def _is_of_classes(one: Comparison) -> bool:
    return isinstance(one.pairs[0][0], ClassExam)


_Several = tuple[Sequence[Comparison], Comparison]  # several, and these as one


def _joined(plan: EvaluationPlan, judged: Sequence[Comparison]) -> Iterator[_Several]:
    """Yield the comparisons of several suites or holdouts, and these as one."""
    yield from _suites_together(judged)
    yield from _holdouts_together(plan, judged)


def _suites_together(judged: Iterable[Comparison]) -> Iterator[_Several]:
    """Yield the comparisons of all suites with each version that several are compared with."""
    alike: dict[tuple[str, int | None, ClassList, bool], list[Comparison]] = {}
    for one in judged:
        if one.kind in SUITES:
            same = one.baseline, one.version, one.asked, one.own_prompts
            alike.setdefault(same, []).append(one)
    for each in alike.values():
        if len(each) > 1:
            pairs = tuple(pair for one in each for pair in one.pairs)
            yield each, replace(each[0], name=f"{len(pairs)} suites", pairs=pairs)


def _holdouts_together(plan: EvaluationPlan, judged: Sequence[Comparison]) -> Iterator[_Several]:
    """Yield the comparisons of earlier holdouts, large ones included, with parent and live version.

    What the live version has not learned is apart from the others beside it, as what is gained
    there would hide what is lost to its callers.
    """
    alike: dict[tuple[str, bool, ClassList, bool], list[Comparison]] = {}
    for one in judged:
        replaced = [role for role in one.baseline.split(" and ") if role in {PARENT, LIVE}]
        of_own = plan.own is not None and one.pairs[0][0] == plan.own.exam
        if one.kind is MeasureKind.HOLDOUT and replaced and not of_own:
            (exam, _), role = one.pairs[0], replaced[0]
            known = role != LIVE or plan.learners_of([exam]) <= plan.live_lineage
            alike.setdefault((role, known, one.asked, one.own_prompts), []).append(one)
    for (role, *_), each in alike.items():
        pairs = tuple(pair for one in each for pair in one.pairs)
        if len(each) > 1:
            joined = replace(
                each[0],
                kind=MeasureKind.HOLDOUTS,
                name=f"{name_of(plan, pairs)} (large ones included)",
                baseline=role,
                pairs=pairs,
                pooled=False,
            )
            yield each, joined


def worse_classes(results: EvaluationResults) -> list[ClassLoss]:
    """Return the update's own classes of which it recognises less than its parent, worst first.

    Each version is asked in its own prompt, if these differ.
    """
    if results.plan.own is None:
        return []
    *_, gain = comparisons(results.plan)
    found = (loss for loss in _of_each(results, gain) if loss.right < loss.right_before)
    return sorted(found, key=lambda loss: (loss.right - loss.right_before) / loss.images)


@dataclass(frozen=True, kw_only=True)
class ClassParts:
    """The parts of a comparison's images that are asked class by class; none if there are none."""

    whole: Sequence[PairedHits] = ()  # all, earlier editions, and the first image of each class
    latest: Sequence[PairedHits] = ()  # the last image of each class in a group, in each edition


def class_parts(results: EvaluationResults, one: Comparison) -> ClassParts:
    """Return the parts of a comparison's images that are asked class by class.

    There are none of captions and of unlabelled images, nor over lists in which suites' classes
    compete, or which differ from version to version; of the gain only the last images.
    """
    (exam, _), *others = one.pairs
    lists = {ClassList.OWN, ClassList.UNION, ClassList.LEARNED}
    if one.asked not in lists or not isinstance(exam, ClassExam):
        return ClassParts()
    whole, latest = list[PairedHits | None](), list[PairedHits | None]()
    if one.kind is not MeasureKind.GAIN:
        whole += editions_of(results.paired(one))
    if not others:
        ((query, hits),) = results.on_each(one, results.plan.candidate)
        copies = len({entry.group for entry in query.entries}) < len(query.entries)
        editions = {entry.edition for entry in query.entries} if copies else set[int]()
        for edition in sorted(editions, reverse=True):
            had = [entry.edition <= edition for entry in query.entries]
            if whole:
                whole.append(first_of_each_class(query.only(had), hits.only(had)))
            latest.append(last_of_each_class(query.only(had), hits.only(had)))
    return ClassParts(
        whole=[hits for hits in whole if hits], latest=[hits for hits in latest if hits]
    )


def class_mean(
    results: EvaluationResults,
    one: Comparison,
    parts: ClassParts,
    others: Sequence[PairedHits],
) -> ClassMean | None:
    """Return the mean of the changes of classes; None where it is not asked.

    It is the worst of `parts`, which are asked class by class, and of the `others`, which have not
    improved; of the gain, that of the classes' own images. Of captions, but for the gain, it is
    that of what they tell, where images share some: one that thousands share would hide what is
    lost on all others. Or it is that of the last images of the groups of near-duplicates, if what
    it surely does not exceed is worse.
    """
    z = surely(pooled=one.pooled)
    if one.is_of_captions:
        found = _means_of_captions(results, one, z)
    elif one.kind is MeasureKind.GAIN:
        last = [_flips(results, hits) for hits in parts.latest]
        found = [ClassMean.of(_own_flips(results, one), 0.0)]
        found += [replace(ClassMean.of(flips, z), latest=True) for flips in last]
    else:
        asked = (*parts.whole, *others) if parts.whole else ()
        found = [
            replace(ClassMean.of(flips, z), latest=latest)
            for each, latest in ((asked, False), (parts.latest, True))
            for flips in (_flips(results, hits) for hits in each)
            if len(flips) > 1
        ]
    return min(found, key=lambda mean: mean.at_most, default=None)


def _means_of_captions(results: EvaluationResults, one: Comparison, z: float) -> list[ClassMean]:
    if one.depth > 1:
        return []
    (exam, _), *others = one.pairs
    found, entries = list[ClassMean](), exam.own.entries
    if one.kind is not MeasureKind.GAIN:
        hits = results.paired(one)
        flips = _flips_of_each(zip(hits.truths, hits.changed, strict=True))
        if 1 < len(flips) < len(hits.now):
            found.append(ClassMean.of(flips, z))
    if not others and len({entry.group for entry in entries}) < len(entries):
        each = [
            (way, *every)
            for way in one.directions
            for every in results.found_on_each(one, results.plan.candidate, way)
        ]
        for edition in {entry.edition for entry in entries}:
            changes = [change for every in each for change in _of_last(*every, edition)]
            last = _as_one_each(changes)
            if len(last) > 1:
                found.append(replace(ClassMean.of(last, z), latest=True))
    return found


def _of_last(
    direction: MeasureKind, query: RetrievalQuery, every: PairedHits, edition: int
) -> Iterator[tuple[str, int]]:
    """Yield the group and the change of each search of the last image that an edition had of it."""
    had = RetrievalQuery(entries=tuple(one for one in query.entries if one.edition <= edition))
    last = {had.entries[place].pixels for place in lasts(had)}
    entries = [query.entries[place] for place, _ in searches(query, direction)]
    for entry, change in zip(entries, every.changed, strict=True):
        if entry.pixels in last:
            yield entry.group, change


_OVERLAP = 0.5  # of a class that a newer name takes: more of it may well be what the name means


def losing(
    results: EvaluationResults,
    one: Comparison,
    parts: ClassParts,
    joined: Iterable[Losing],
) -> Losing | None:
    """Return the change on images of whose class the others show a loss; None if not asked.

    It is the worst of the `parts` that are asked class by class, and of what several suites or
    holdouts show together (`joined`). Over newer lists a name that overlaps with a class of a suite
    may take all of it, and be right: such classes are left out.
    """
    each = (*parts.whole, *parts.latest) if parts.whole else ()
    alone = (_worst_losing(results, one, _changes(results, hits)) for hits in each)
    found = (*(worst for worst in alone if worst is not None), *joined)
    return min(found, key=lambda worst: worst.at_most, default=None)


def _worst_losing(
    results: EvaluationResults, one: Comparison, changes: Sequence[tuple[str, int]]
) -> Losing | None:
    most = _OVERLAP if one.kind in SUITES and one.asked is ClassList.UNION else 1.0
    limit, z = results.plan.policy.class_tolerance, surely(pooled=one.pooled)
    return Losing.worst(changes, z, limit=limit, most=most)


def _changes(results: EvaluationResults, hits: PairedHits) -> list[tuple[str, int]]:
    """Return the class and the change of each image."""
    names = [results.meanings.get(name, name) for name in hits.truths]
    return [*zip(names, hits.changed, strict=True)]


def _own_flips(results: EvaluationResults, one: Comparison) -> list[Flips]:
    """Return the flips of each class by images of its own."""
    return [
        Flips(count=each.images, gained=each.gained, lost=each.lost)
        for each in _of_each(results, one)
        if each.edition is None
    ]


def _flips(results: EvaluationResults, hits: PairedHits) -> list[Flips]:
    """Return the flips of each class."""
    return _flips_of_each(_changes(results, hits))


def _flips_of_each(changes: Iterable[tuple[str, int]]) -> list[Flips]:
    found: dict[str, list[int]] = {}
    for name, change in changes:
        found.setdefault(name, []).append(change)
    return [
        Flips(count=len(each), gained=each.count(1), lost=each.count(-1)) for each in found.values()
    ]


def _as_one_each(changes: Iterable[tuple[str, int]]) -> list[Flips]:
    """Return the mean change of each group as one answer, since its searches may flip together."""
    means = (each.difference for each in _flips_of_each(changes))
    return [Flips(count=1, gained=max(0.0, mean), lost=max(0.0, -mean)) for mean in means]


@dataclass(frozen=True, kw_only=True)
class _Image:
    """An image of a class, and whether three versions are right about it."""

    exam: int  # the number of its suite or holdout
    class_name: str
    edition: int
    now: bool
    before: bool
    at_live: bool  # or before, if no live version is compared


def _of_each(results: EvaluationResults, one: Comparison) -> Iterator[ClassLoss]:
    """Yield each class, and again by the images of an earlier edition alone, if it has grown."""
    live = results.live_in(one)
    for each in _images_of_classes(results, one):
        *earlier, newest = sorted({image.edition for image in each})
        for edition in (newest, *earlier):
            found = [image for image in each if image.edition <= edition]
            yield ClassLoss(
                kind=one.kind,
                name=one.name,
                baseline=one.baseline,
                baseline_version=one.version,
                asked=one.asked,
                own_prompts=one.own_prompts,
                edition=edition if edition < newest else None,
                class_name=each[0].class_name,
                images=len(found),
                right=sum(image.now for image in found),
                right_before=sum(image.before for image in found),
                gained=sum(image.now and not image.before for image in found),
                lost=sum(image.before and not image.now for image in found),
                live_right=None if live is None else sum(image.at_live for image in found),
            )


def _images_of_classes(results: EvaluationResults, one: Comparison) -> Iterator[list[_Image]]:
    """Yield the images of each class, near-duplicates once, as `one_a_group` counts them.

    Of several suites or holdouts, only classes that more than one of them shows: any other is
    judged there.
    """
    live, parts = results.live_in(one), results.on_each(one, results.plan.candidate)
    others = parts if live is None else results.on_each(one, live)
    found: dict[str, dict[Digest, list[_Image]]] = {}
    for number, ((query, hits), (_, theirs)) in enumerate(zip(parts, others, strict=True)):
        standing = hits.before if live is None else theirs.now
        for place in firsts(query, by_class=True):
            entry = query.entries[place]
            image = _Image(
                exam=number,
                class_name=entry.class_name,
                edition=entry.edition,
                now=hits.now[place],
                before=hits.before[place],
                at_live=standing[place],
            )
            name = meaning_of(entry.class_name, results.meanings)
            found.setdefault(name, {}).setdefault(entry.group, []).append(image)
    for images in found.values():
        if len(parts) == 1 or len({one.exam for each in images.values() for one in each}) > 1:
            yield [
                max(reversed(each), key=lambda one: tells(one.now, one.before))
                for each in images.values()
            ]
