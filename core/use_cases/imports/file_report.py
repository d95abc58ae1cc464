"""The report of an import: what became of each file, in JSON Lines."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from core.domain.datasets.archive_path import Path, shown
from core.domain.jobs.order import JobType
from core.domain.values import Digest, JobId, Json, canonical_json
from core.errors import FileReportNotFound
from core.ports import Platform
from core.use_cases.datasets.datasets import Receipt, UploadOutcome


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """One row for each file and each entry of an image list, in the order of the archive."""

    rows: Sequence[Json]

    @classmethod
    def of(cls, paths: Sequence[Path], receipts: Sequence[Receipt]) -> Self:
        """Return the report of files, each with its receipt."""
        return cls(rows=[_row(path, one) for path, one in zip(paths, receipts, strict=True)])

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of rows by outcome."""
        counts = dict.fromkeys((outcome.value for outcome in UploadOutcome), 0)
        for row in self.rows:
            counts[row["outcome"]] += 1
        return counts

    def to_bytes(self) -> bytes:
        """Return the report as JSON Lines."""
        return b"".join(canonical_json(row) + b"\n" for row in self.rows)


def file_report(platform: Platform, job: JobId) -> Digest:
    """Return the artifact of an import's report. Raises JobNotFound or FileReportNotFound."""
    with platform.transactions(read_only=True) as work:
        found = work.jobs.get(job)
    if found.type is not JobType.IMPORT_IMAGES or found.result is None:
        raise FileReportNotFound
    return Digest(found.result["report"])


def flat_rows(report: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of a stored report for a table: the error's parts are columns."""
    for line in report.splitlines():
        row = json.loads(line)
        error = row.pop("error") or {}
        yield {**row, "code": error.get("code"), "detail": error.get("detail")}


def _row(path: Path, receipt: Receipt) -> Json:
    """Return a receipt as JSON; its file with the folders, a refused text without oddities."""
    row = receipt.to_json() | {"file": shown(path)}
    return row if receipt.accepted else row | {"text": shown([receipt.text])}
