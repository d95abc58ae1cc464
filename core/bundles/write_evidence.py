"""Write the file of a report's evidence."""

import io
import json
import zipfile
from collections.abc import Mapping

from core.artifacts.store import Artifacts
from core.bundles.evidence import FACTS_FILE, PREDICATE_TYPE, REPORT_FILE, part_file
from core.bundles.rules import ENVELOPE_FILE, Envelope, Statement
from core.bundles.signing import Signatures
from core.database.work import Work
from core.datasets.manifests import ManifestEntry, Part
from core.datasets.version_rows import Suites
from core.errors import ArtifactMissing, SigningKeyMissing, SuiteNotFound, VersionNotFound
from core.evaluation.evidence import EVIDENCE, is_repeated
from core.evaluation.exams import entries_in
from core.evaluation.holdouts import captions_name
from core.evaluation.rows import AnswerCache
from core.evaluation.stored_answers import read_suite
from core.platform import Platform
from core.registry.read import captions_held_out_of, holdout_of
from core.registry.version_rows import Versions
from core.registry.versions import Version
from core.values import Digest, Json, sha256

_NEVER = (1980, 1, 1, 0, 0, 0)  # the time of members, so that the same evidence is the same file


def write_evidence(
    platform: Platform, signatures: Signatures, version: Version, report: Digest
) -> bytes:
    """Return the file of a report's evidence: a zip, signed if the service has a key.

    Lists with images that were erased since are left out, with the answers about them, and the
    statement says how many images were erased. Raises ArtifactMissing or ArtifactCorrupt.
    """
    artifacts = platform.artifacts
    with platform.transactions(read_only=True) as work:
        stored = work[AnswerCache].find(report, EVIDENCE)
        if stored is None:
            raise ArtifactMissing
        facts_bytes = artifacts.get(stored)
        facts = json.loads(facts_bytes)
        lists = facts["images"]
        there = work[AnswerCache].stored(
            {one["list"] for one in lists}, {one["file"] for one in lists}
        )
        kept = [(one["list"], one["file"]) in there for one in lists]
        erased = {
            one["name"]: max(1, one["count"] - left)
            for one, is_kept in zip(lists, kept, strict=True)
            if not (is_kept or is_repeated(one["name"]))
            for left in [_left(work, artifacts, version, report, facts["plan"], one["name"])]
        }
    parts = [one["file"] for one, is_kept in zip(lists, kept, strict=True) if is_kept]
    parts += [one["file"] for one in facts["answers"] if kept[one["images"]]]
    contents = {FACTS_FILE: facts_bytes, REPORT_FILE: artifacts.get(report)}
    contents |= {part_file(digest): artifacts.get(digest) for digest in dict.fromkeys(parts)}
    return packed(signatures, contents, erased)


def packed(
    signatures: Signatures, contents: Mapping[str, bytes], erased: Mapping[str, int]
) -> bytes:
    """Return the zip of a signed statement and the files that it names."""
    statement = Statement(
        files={name: sha256(data) for name, data in contents.items()},
        predicate={"erased": dict(erased)},
        predicate_type=PREDICATE_TYPE,
    ).to_bytes()
    try:
        envelope = signatures.sign(statement)
    except SigningKeyMissing:
        envelope = Envelope(payload=statement)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {ENVELOPE_FILE: envelope.to_bytes(), **contents}.items():
            member = zipfile.ZipInfo(name, _NEVER)
            archive.writestr(member, data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _left(
    work: Work, artifacts: Artifacts, version: Version, report: Digest, plan: Json, name: str
) -> int:
    """Return how many test images are left of a suite, or of the holdout of "version 2".

    A holdout has what was added to it by the time of the plan.
    """

    def entries_of(suite: str) -> tuple[ManifestEntry, ...]:
        return read_suite(work, artifacts, work[Suites].get(suite)).manifest.entries

    suites = json.loads(artifacts.get(report))["suites"]
    try:
        for suite, its_name in suites.items():
            if its_name == name:
                return len(entries_in(Part.TEST, entries_of(suite)))
        number = int(name.split(",", maxsplit=1)[0].rpartition(" ")[2])
        learner = work[Versions].get(version.model, number)
        if name == captions_name(learner):
            [entries] = captions_held_out_of(work, artifacts, [learner])
            return len(entries_in(Part.TEST, entries))
        entries = holdout_of(work, artifacts, learner)
        for one in (*plan["holdouts"], *plan["live_holdouts"]):
            if one["exam"]["name"] == name and one["added"]:
                entries += entries_of(one["added"])
        return len(entries_in(Part.TEST, entries))
    except (SuiteNotFound, VersionNotFound):
        return 0
