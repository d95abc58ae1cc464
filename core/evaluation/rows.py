"""Rows of evaluation results."""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection, delete, func, select

from core.database.statements import chunks, upsert
from core.database.tables import answers as table
from core.database.tables import jobs
from core.database.work import Rows
from core.errors import ReportNotFound
from core.evaluation.evidence import EVIDENCE
from core.jobs.orders import JobType
from core.registry.versions import Version
from core.values import Digest, ModelId


class AnswerCache(Rows):
    """Rows of the artifacts that hold versions' answers, by query."""

    def stored(
        self,
        versions: Collection[Digest],
        queries: Collection[Digest],
        *,
        release: str | None = None,
    ) -> Mapping[tuple[Digest, Digest], Digest]:
        """Return the artifacts by (version, query), without those that do not exist.

        With a release, without those that another one gave, too.
        """
        by_release = () if release is None else (table.c.release == release,)
        found: dict[tuple[Digest, Digest], Digest] = {}
        for some in chunks(versions):
            for others in chunks(queries):
                statement = select(table.c.version, table.c.question, table.c.answers).where(
                    table.c.version.in_(some), table.c.question.in_(others), *by_release
                )
                rows = self._connection.execute(statement)
                found.update(((row.version, row.question), row.answers) for row in rows)
        return found

    def find(self, version: Digest, query: Digest) -> Digest | None:
        """Return the artifact of a version's answers to a query, None if there is none."""
        return self.stored([version], [query]).get((version, query))

    def add(
        self,
        version: Digest,
        query: Digest,
        results: Digest,
        images: Digest | None = None,
        *,
        release: str | None = None,
    ) -> None:
        """Store an artifact of results and that of the list of images that they are about.

        `release` is that of the engine that gave them, if it matters.
        """
        values = {"version": version, "question": query, "answers": results, "images": images}
        upsert(self._connection, table, values | {"release": release})

    def lists(self) -> set[Digest]:
        """Return the lists of images that results are about."""
        query = select(table.c.images).where(table.c.images.is_not(None)).distinct()
        return set(self._connection.scalars(query))

    def remove(self, lists: Iterable[Digest]) -> set[Digest]:
        """Delete results that are about lists of images; return the artifacts of both."""
        gone: set[Digest] = set()
        for chunk in chunks([*lists]):
            theirs = table.c.images.in_(chunk)
            rows = self._connection.execute(
                delete(table).where(theirs).returning(table.c.answers, table.c.images)
            )
            gone.update(digest for row in rows for digest in row)
        return gone

    def judged(self, query: Digest) -> int:
        """Return the number of versions that have results for the query."""
        statement = select(func.count()).select_from(table).where(table.c.question == query)
        return self._connection.scalar(statement) or 0


def delete_evidence_of(connection: Connection, model: ModelId) -> None:
    """Delete what the evidence of a model's reports says of them, before its jobs go.

    Its parts, which reports of other models may share, stay as answers do.
    """
    report = jobs.c.result["report"].as_string()
    reports = select(report).where(jobs.c.model == model, report.is_not(None))
    theirs = table.c.version.in_(reports) & (table.c.question == EVIDENCE)
    connection.execute(delete(table).where(theirs))


class Evaluations(Rows):
    """Rows of the jobs that have evaluated versions."""

    def report(self, version: Version, job: str | None) -> Digest | None:
        """Return the report that a job wrote on a version; None without a job.

        Raises ReportNotFound.
        """
        if job is None:
            return None
        found = self._connection.scalar(
            select(jobs.c.result).where(
                jobs.c.id == job,
                jobs.c.model == version.model,
                jobs.c.type.in_((JobType.UPDATE, JobType.CONVERT, JobType.EVALUATE)),
            )
        )
        if found is None or found["version"] != version.number:
            raise ReportNotFound(
                f"No evaluation of version {version.number} was this job.",
                version=version.number,
                job=job,
            )
        return Digest(found["report"])
