"""The file of a report's evidence, which anyone can check without the service.

A zip of the report, the facts, the lists of images and the answers, and first a signed statement,
as in a bundle: it names each of these files by its digest, and says what was erased since.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from core.bundles.rules import ENVELOPE_FILE, Envelope, Statement
from core.errors import PerennialError
from core.evaluation.evidence import FORMAT, Difference, differences, is_repeated
from core.values import Digest, Json, sha256

PREDICATE_TYPE = "urn:perennial:predicate:evidence:v1"
FACTS_FILE, REPORT_FILE = "evidence.json", "report.json"
MOST_BYTES = 4 * 1024**3  # that a file may unpack to


def part_file(digest: Digest) -> str:
    """Return the name of the file of a list of images, or of answers."""
    return f"parts/{digest}.json"


class EvidenceUnreadable(Exception):
    """The file is not the evidence of a report, or was damaged; the message says how."""


@dataclass(frozen=True, kw_only=True)
class EvidenceFile:
    """The contents of a file, whose digests are those of its statement."""

    envelope: Envelope
    digest: Digest  # of the facts
    facts: Json
    report: Json
    parts: Mapping[Digest, Json]
    erased: Mapping[str, int]  # images erased since, by suite or holdout: it cannot be recomputed

    @property
    def images(self) -> int:
        """The number of test images that were judged."""
        whole = (one for one in self.facts["images"] if not is_repeated(one["name"]))
        return sum(int(one["count"]) for one in whole)

    def differences(self) -> list[Difference]:
        """Return where the report differs from what follows. Raises EvidenceUnreadable."""
        try:
            return differences(self.facts, self.report, self.parts)
        except (*_UNFIT, PerennialError) as error:
            raise EvidenceUnreadable(
                f"The parts of the evidence do not fit together ({type(error).__name__}: {error})."
            ) from error


_UNFIT = (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError)


def read_evidence(file: BinaryIO) -> EvidenceFile:
    """Return what a file holds. Raises EvidenceUnreadable, also if a digest is another one."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(one.file_size for one in members) > MOST_BYTES:
                raise EvidenceUnreadable(f"The file unpacks to more than {MOST_BYTES:,} bytes.")
            found = {one.filename: archive.read(one) for one in members}
        envelope = Envelope.from_bytes(found.pop(ENVELOPE_FILE))
        statement = Statement.from_bytes(envelope.payload, PREDICATE_TYPE)
        if {name: sha256(data) for name, data in found.items()} != statement.files:
            raise EvidenceUnreadable("The files are not those that the statement names.")
        report, facts = json.loads(found[REPORT_FILE]), json.loads(found[FACTS_FILE])
        if facts["format"] != FORMAT:
            raise EvidenceUnreadable("The evidence is of a later release: update the client.")
        if statement.files[REPORT_FILE] != facts["report"]:
            raise EvidenceUnreadable("The report is not the one that the statement is about.")
        return EvidenceFile(
            envelope=envelope,
            digest=statement.files[FACTS_FILE],
            facts=facts,
            report=report,
            parts={
                digest: json.loads(found[part_file(digest)])
                for digest in statement.files.values()
                if part_file(digest) in found
            },
            erased={str(name): int(n) for name, n in statement.predicate["erased"].items()},
        )
    except (*_UNFIT, PerennialError, zipfile.BadZipFile, OSError) as error:
        raise EvidenceUnreadable(
            f"The file is no evidence that can be read ({type(error).__name__}: {error})."
        ) from error
