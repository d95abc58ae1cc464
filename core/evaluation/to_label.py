"""List the images of an unlabelled suite whose labels would tell more about a version."""

from collections.abc import Sequence

from core.datasets.labels import require_unlabelled
from core.datasets.manifests import ManifestEntry
from core.datasets.rules import Suite
from core.datasets.version_rows import Suites
from core.errors import EvaluationPending
from core.evaluation.answers import ClassAnswers
from core.evaluation.exams import in_prompt_of, unlabelled_exam
from core.evaluation.report import Report
from core.evaluation.rows import AnswerCache
from core.evaluation.stored_answers import read_each, read_suite
from core.evaluation.unlabelled import disagreements
from core.gate.rows import Policies
from core.platform import Platform
from core.registry.read import read_report, resolve
from core.registry.version_rows import Versions
from core.values import Digest


def images_to_label(
    platform: Platform, *, suite: str, reference: str, after: Digest | None = None
) -> tuple[Suite, Sequence[ManifestEntry]]:
    """Return a suite, and its images without a label about which a version disagrees.

    It disagrees with one of the versions that its report compares it with, over one of the two
    class lists, in the suite's prompt or in those of the versions. The order does not depend on the
    answers; those up to an image, `after`, are left out. Raises SuiteNotFound, FieldInvalid for a
    suite that is not unlabelled, ModelNotFound, VersionNotFound, AliasNotFound, and
    EvaluationPending before the version has been scored on the suite.
    """
    with platform.transactions(read_only=True) as work:
        found = work[Suites].newest(suite)
        require_unlabelled(found)
        model, version = resolve(work, reference)
        report = Report.from_json(read_report(platform.artifacts, version))
        exam = unlabelled_exam(read_suite(work, platform.artifacts, found), version.classes)
        if exam is None:
            return found, ()
        numbers = {one for one in (report.parent, report.root, report.live) if one is not None}
        others = work[Versions].some(model.id, numbers).values()
        asked = [(query, other, query) for query in (exam.own, exam.union) for other in others]
        asked += [
            (in_prompt_of(version, query), other, in_prompt_of(other, query))
            for query, other, _ in asked
            if {version.prompt, other.prompt} != {query.prompt}
        ]
        stored = work[AnswerCache].stored(
            {version.digest, *(other.digest for other in others)},
            {query.digest for now, _, before in asked for query in (now, before)},
        )
        meanings = work[Policies].get(report.policy["id"]).meanings
    answers = read_each(platform.artifacts, stored)
    apart: set[Digest] = set()
    for query, other, query_before in asked:
        now = answers.get((version.digest, query.digest))
        before = answers.get((other.digest, query_before.digest))
        if not (isinstance(now, ClassAnswers) and isinstance(before, ClassAnswers)):
            raise EvaluationPending(
                f"Version {version.number} has not been scored on the suite {found.name} as it is "
                "now: score it, and then see where it disagrees.",
                version=version.number,
            )
        apart |= {entry.pixels for entry, *_ in disagreements(query, now, before, meanings)}
    entries = exam.own.entries
    places = {entry.pixels: place for place, entry in enumerate(entries, 1)}
    return found, [
        entry
        for entry in entries[places.get(after or Digest(""), 0) :]
        if entry.pixels in apart and entry.pixels not in exam.classes
    ]
