"""Files that name or describe images: reports of imports, and stored answers.

All of it is read before anything is locked, and again what has come since.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.evaluation.rows import AnswerCache
from core.imports.import_images import without_names
from core.imports.rows import FileReports
from core.platform import Platform
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class Derived:
    """Import reports, each with what is left of it, and lists of images that were asked about."""

    reports: Mapping[Digest, Digest] = field(default_factory=dict)
    asked: Mapping[Digest, bool] = field(default_factory=dict)  # whether one of the images is there

    def is_current(self, work: Work) -> bool:
        """Return whether all that is there was read."""
        reports = set(work[FileReports].all().values())
        return reports <= self.reports.keys() and work[AnswerCache].lists() <= self.asked.keys()

    def erase(self, work: Work) -> set[Digest]:
        """Write what is left of the reports, delete the answers; return what nothing may need."""
        gone = work[AnswerCache].remove(one for one, holds in self.asked.items() if holds)
        for job, report in work[FileReports].all().items():
            left = self.reports[report]
            if left != report:
                work[FileReports].replace(job, left)
                gone.add(report)
        return gone


def read_derived(platform: Platform, pixels: Collection[Digest], before: Derived) -> Derived:
    """Return what was made of images; only what has come since `before` is read."""
    artifacts, reports, asked = platform.artifacts, dict(before.reports), dict(before.asked)
    with platform.transactions(read_only=True) as work:
        new_reports = set(work[FileReports].all().values()) - reports.keys()
        new_lists = work[AnswerCache].lists() - asked.keys()
    for digest in sorted(new_reports):
        report = _read(artifacts, digest)
        left = without_names(report, pixels)
        reports[digest] = digest if left == report else artifacts.put(left)
    for digest in sorted(new_lists):
        asked[digest] = not set(pixels).isdisjoint(json.loads(_read(artifacts, digest) or b"[]"))
    return Derived(reports=reports, asked=asked)


def _read(artifacts: Artifacts, digest: Digest) -> bytes:
    """Return an artifact; nothing is left of one that is gone or damaged."""
    try:
        return artifacts.get(digest)
    except (ArtifactMissing, ArtifactCorrupt):
        return b""
