"""Exams: queries about a suite or a holdout, over several lists of classes or in galleries."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from core.datasets.manifests import Manifest, ManifestEntry, Part, Split
from core.datasets.rules import Suite, SuiteKind, lineage_of
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.unlabelled import UnlabelledExam, in_order, labelled_entries
from core.gate.kinds import ClassList
from core.registry.versions import Version
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class ClassExam:
    """Queries on the same images over several lists of classes, three of which are fields.

    `own` shows what is forgotten. In `union`, all classes that the candidate has learned compete
    too, so it shows what newer classes swallow. In `with_suites`, which is for holdouts, those of
    the model's zero-shot suites do too, as for callers who ask with everything. Where a list adds
    no class, the query is equal to the one before.
    """

    name: str
    own: ClassQuery
    union: ClassQuery
    with_suites: ClassQuery

    def over(self, asked: ClassList) -> ClassQuery:
        """Return what the candidate is asked over one of the lists."""
        if asked is ClassList.WITH_SUITES:
            return self.with_suites
        return self.own if asked is ClassList.OWN else self.union

    def by_default(self, version: Version) -> ClassQuery:
        """Return the query over what a version has learned; `union` if it is the candidate."""
        return replace(self.own, classes=_union(self.own.classes, version.classes))


_OWN_GALLERY = ", own gallery"


def in_own_gallery(name: str) -> str:
    """Return the name of a small captioned holdout, or of several, in the own gallery."""
    return name + _OWN_GALLERY


def without_gallery(name: str) -> str:
    """Return the name of a holdout, whichever its gallery is."""
    return name.removesuffix(_OWN_GALLERY)


@dataclass(frozen=True, kw_only=True)
class RetrievalExam:
    """The query of a captioned suite or holdout, whose gallery is its own images.

    `among` has all captioned images: a small holdout is searched for among these, as few images
    are an easy question, and then in its own gallery (`alone`). None: only there. `union` has all
    images of suites and of holdouts, so it shows what newer ones swallow. None: there are no more.
    `earlier` are those of a suite's editions before the newest, oldest first.
    """

    name: str
    own: RetrievalQuery
    among: RetrievalQuery | None = None
    union: RetrievalQuery | None = None
    earlier: tuple[RetrievalQuery, ...] = ()

    @property
    def alone(self) -> "RetrievalExam":
        """The exam of a small holdout in its own gallery."""
        return replace(self, name=in_own_gallery(self.name), among=None, union=None)

    def over(self, asked: ClassList) -> RetrievalQuery:
        """Return the query by whose answers it is judged: its gallery has all images asked."""
        shorter = self.among or self.own
        return self.union or shorter if asked is ClassList.UNION else shorter

    @property
    def queries(self) -> tuple[RetrievalQuery, ...]:
        """All queries, of which some may be equal."""
        galleries = (self.over(ClassList.OWN), self.over(ClassList.UNION))
        return (self.own, *galleries, *self.earlier)


Exam = ClassExam | RetrievalExam | UnlabelledExam


@dataclass(frozen=True, kw_only=True)
class ScoredSuite:
    """A suite with its images, and of an unlabelled one with the labels that were given since."""

    suite: Suite
    manifest: Manifest
    labels: Mapping[Digest, str] = field(default_factory=dict)
    split: Split = field(default_factory=Split)  # which draws the order of these


def captions_exam(name: str, own: RetrievalQuery) -> RetrievalExam:
    """Return the exam of a captioned suite, with the queries of its earlier editions."""
    entries = own.entries
    earlier = (
        RetrievalQuery(entries=tuple(entry for entry in entries if entry.edition <= number))
        for number in sorted({entry.edition for entry in entries})[:-1]
    )
    return RetrievalExam(name=name, own=own, earlier=tuple(earlier))


def in_prompt_of(version: Version, query: ClassQuery) -> ClassQuery:
    """Return a query in the prompt in which a version answers callers who send none."""
    return replace(query, prompt=version.prompt)


def suite_query(scored: ScoredSuite, part: Part) -> EvalQuery | None:
    """Return a suite's query on its images in one part; None if it has none with a text there."""
    suite, entries = scored.suite, entries_in(part, scored.manifest.entries)
    if not entries or suite.kind is SuiteKind.UNLABELLED:
        return None
    if suite.kind is SuiteKind.RETRIEVAL:
        return RetrievalQuery(entries=entries)
    return ClassQuery(entries=entries, classes=suite.classes, prompt=suite.prompt)


def unlabelled_exam(
    scored: ScoredSuite, learned: tuple[str, ...], part: Part = Part.TEST
) -> UnlabelledExam | None:
    """Return the exam of an unlabelled suite; None of another, and for selection.

    Its labels are of test images, and nothing is chosen by them.
    """
    suite = scored.suite
    tests = entries_in(Part.TEST, scored.manifest.entries)
    entries = in_order(tests, scored.split, lineage_of(suite.id))
    if suite.kind is not SuiteKind.UNLABELLED or part is not Part.TEST or not entries:
        return None
    own = ClassQuery(entries=entries, classes=suite.classes, prompt=suite.prompt)
    return UnlabelledExam(
        name=suite.name,
        own=own,
        union=replace(own, classes=_union(own.classes, learned)),
        labels=labelled_entries(entries, scored.labels),
    )


def entries_in(part: Part, entries: Iterable[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Return the images of a suite or holdout that are in one part."""
    return tuple(entry for entry in entries if entry.part is part)


def class_exam(
    name: str, own: ClassQuery, learned: tuple[str, ...], of_suites: tuple[str, ...] = ()
) -> ClassExam:
    """Return the exam of a suite or holdout, given the learned classes and those of suites."""
    union = replace(own, classes=_union(own.classes, learned))
    with_suites = replace(union, classes=_union(union.classes, of_suites))
    return ClassExam(name=name, own=own, union=union, with_suites=with_suites)


def learned_by(
    version: Version,
    suites: Iterable[ClassExam],
    candidate: Version,
    meanings: Mapping[str, str],
) -> tuple[ClassExam, ...]:
    """Return exams on those images of suites that show classes which a version has learned.

    `meanings` has one name for all that mean the same, by each of them in lower case.

    `own` is over the version's default list, `union` over what the candidate has learned, too. The
    suites' other images are left out: callers who send no classes never get their classes.
    """
    names = [name.lower() for name in version.classes]
    found, learned = [], {meanings.get(name, name) for name in names}
    for suite in suites:
        query = suite.own.only([meanings.get(one, one) in learned for one in suite.own.truths])
        if query.entries:
            own = replace(query, classes=version.classes)
            found.append(class_exam(suite.name, own, candidate.classes))
    return tuple(found)


def _union(own: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return `own` and those names of `more` whose prompts are not in `own`; case is ignored."""
    known = {name.lower() for name in own}
    return own + tuple(name for name in more if name.lower() not in known)
