"""Rows that name artifacts."""

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, select

from core.artifacts.store import ArtifactKind
from core.database.tables import (
    answers,
    dataset_images,
    dataset_versions,
    erased_images,
    erasures,
    images,
    jobs,
    suites,
    verdicts,
    versions,
)
from core.database.work import Rows
from core.hooks import Hook
from core.jobs.claim_rows import UNFINISHED
from core.jobs.orders import JobType
from core.registry.versions import Version
from core.values import Digest

# What names artifacts beside datasets, models, evaluations and jobs: asked for one kind at a time.
NAMED_ARTIFACTS = Hook[[Connection, ArtifactKind], set[Digest]]("what names artifacts")

_READ_ARCHIVES = (JobType.IMPORT_IMAGES, JobType.IMPORT_VERSION)


class ArtifactRoots(Rows):
    """The artifacts that rows name: the roots from which all others are reached.

    Call `images` first: freezing a dataset copies references to images from the dataset's rows,
    from which they can be removed, into a manifest.
    """

    def images(self) -> set[Digest]:
        """Return the artifacts of the images in datasets, and of samples of trials."""
        held = select(dataset_images.c.pixels)
        drafts = self._all(select(images.c.artifact).where(images.c.pixels.in_(held)))
        return drafts | self.named(ArtifactKind.IMAGE)

    def erased(self) -> set[Digest]:
        """Return the stored forms of erased images, which manifests still name."""
        return self._all(select(erased_images.c.artifact))

    def derived(self) -> set[Digest]:
        """Return what erasures have deleted that was made of their images, and no row names now."""
        found = self._connection.scalars(
            select(erasures.c.findings).where(erasures.c.findings.is_not(None))
        )
        derived = {Digest(one) for findings in found for one in findings["derived"]}
        return derived - self.feature_statistics() - self.reports() - self.answers()

    def manifests(self) -> set[Digest]:
        """Return the manifests of dataset versions and suites."""
        frozen = self._all(select(dataset_versions.c.manifest))
        return frozen | self._all(select(suites.c.manifest))

    def weights(self, *, without: Collection[Version] = ()) -> set[Digest]:
        """Return the weights of versions, except those given up and those in `without`."""
        return set(self._of_kept_versions(versions.c.digest, without))

    def feature_statistics(self, *, without: Collection[Version] = ()) -> set[Digest]:
        """Return the feature statistics of versions, except of those whose weights are not kept."""
        kept = self._of_kept_versions(versions.c.feature_statistics, without)
        return {digest for by_class in kept if by_class for digest in by_class.values()}

    def reports(self) -> set[Digest]:
        """Return the reports of versions, those with which they came, and those of jobs."""
        scored = jobs.c.result["report"].as_string()
        record = versions.c.origin["record"].as_string()
        columns = (scored, versions.c.report, verdicts.c.report, record)
        named = (self._all(select(each).where(each.is_not(None))) for each in columns)
        return set().union(*named) | self.named(ArtifactKind.REPORT)

    def vector_parts(self) -> set[Digest]:
        """Return the lists of the parts that unfinished re-embeddings have stored."""
        return self.checkpoints(jobs.c.type == JobType.REEMBED)

    def answers(self) -> set[Digest]:
        """Return the evaluation results of versions, and the lists of images they are about."""
        lists = self._all(select(answers.c.images).where(answers.c.images.is_not(None)))
        return lists | self._all(select(answers.c.answers))

    def archives(self) -> set[Digest]:
        """Return the parts of uploads, and the archives of unfinished imports."""
        # First: an upload may be imported and deleted meanwhile, but not the reverse.
        parts = self.named(ArtifactKind.ARCHIVE)
        return parts | self._archives(jobs.c.status.in_(UNFINISHED))

    def spent_archives(self) -> set[Digest]:
        """Return the archives of imports that have ended, unless something else needs them."""
        return self._archives(jobs.c.status.not_in(UNFINISHED)) - self.archives()

    def named(self, kind: ArtifactKind) -> set[Digest]:
        """Return the artifacts of a kind that rooms name which take part by the hook."""
        return set().union(*NAMED_ARTIFACTS(self._connection, kind))

    def checkpoints(self, *only: ColumnElement[bool]) -> set[Digest]:
        """Return the checkpoints of unfinished jobs, perhaps of some of them alone."""
        live = jobs.c.status.in_(UNFINISHED) & jobs.c.checkpoint.is_not(None)
        return self._all(select(jobs.c.checkpoint).where(live, *only))

    def _archives(self, status: ColumnElement[bool]) -> set[Digest]:
        query = select(jobs.c.order["archive"].as_string())
        return self._all(query.where(jobs.c.type.in_(_READ_ARCHIVES), status))

    def _of_kept_versions(self, column: Column[Any], without: Collection[Version]) -> Iterator[Any]:
        """Yield the column's value for each version that keeps its weights."""
        query = select(versions.c.model, versions.c.number, column)
        rows = self._connection.execute(query.where(versions.c.collected_at.is_(None)))
        left_out = {(version.model, version.number) for version in without}
        return (value for model, number, value in rows if (model, number) not in left_out)

    def _all(self, query: Select[Any]) -> set[Digest]:
        return set(self._connection.scalars(query))
