"""Seeded mutations of archives: each ends in an answer or a job, and nothing is left elsewhere."""

import re
from pathlib import Path
from random import Random

from tests.support.api.archives import mutated, tarred, zipped
from tests.support.api.image_files import picture
from tests.support.api.imports import importing
from tests.support.api.service import EMBEDDED, Service

TRIES = 60
FILES = {
    "boot/1.png": picture(1),
    "bag/2.png": picture(2),
    "bag/a name of many letters/" + "x" * 120 + ".png": picture(3),
    "list.jsonl": b'{"file": "boot/1.png", "class": "boot"}\n' * 3,
}
WHOLE = {"zip": zipped(FILES), "tar": tarred(FILES), "gz": tarred(FILES, "w:gz")}
REFUSED = {
    "archive_corrupt",
    "archive_empty",
    "archive_too_big",
    "archive_unsafe",
    "image_list_invalid",
}
STORED = re.compile(r"artifacts/[0-9a-f]{2}/[0-9a-f]{62}")


@EMBEDDED
def test_every_mutated_archive_is_imported_or_refused(service: Service, tmp_path: Path) -> None:
    choice, ends = Random(12), set()
    with importing(service) as imports:
        for number in range(TRIES):
            kind = ("zip", "tar", "gz")[number % 3]
            data = mutated(WHOLE[kind], choice)
            answer = imports.send(data, kind)
            if answer.status_code == 415:
                assert answer.json()["code"] == "unsupported_archive"
                continue
            assert answer.status_code == 202, (number, answer.text)
            imports.work()
            job = imports.job(answer.json())
            ends.add(job["status"])
            if job["status"] == "failed":
                assert job["error"]["code"] in REFUSED, (number, job["error"])
            else:
                assert imports.report(job), number
    assert ends == {"succeeded", "failed"}
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    beside = [name for name in service.kept()["files"] if not STORED.fullmatch(name)]
    assert beside == []
