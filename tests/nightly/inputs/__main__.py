"""Send a service mutated images and collections, and check what comes of it: `make test-inputs`.

Each input is a JPEG, PNG, WebP or GIF that is uploaded, or a zip, tar, tar.gz, Parquet file or
WebDataset that is imported, after one seeded mutation. Every answer must be one that the API
documents for such files, no process may end or take 512 MB, and after a collection of garbage no
file may lie anywhere that no row names.
Prints a table and writes `benchmarks/out/inputs.json`.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from benchmarks.output import publish, show
from core import bootstrap
from core.settings import Settings
from core.upkeep.gc import expand, roots_of
from core.upkeep.rows import ArtifactRoots
from demo.service import Service, running_service
from devtools.process_memory import processes_by_role, sampled_memory
from tests.nightly.inputs.mutations import mutated, originals
from tests.nightly.inputs.sending import Answers, Input, send_archives, send_images

IMAGES = {"jpeg", "png", "webp", "gif"}
BATCH = 500  # inputs in memory
MEGABYTE = 1e6
MOST_MEGABYTES = 512.0


def send_all(client: httpx.Client, inputs: Iterator[Input], answers: Answers) -> None:
    """Send inputs in batches: images as uploads, archives as imports."""
    while batch := list(islice(inputs, BATCH)):
        send_images(client, [sent for sent in batch if sent[0] in IMAGES], answers)
        send_archives(client, [sent for sent in batch if sent[0] not in IMAGES], answers)


def run(folder: Path, count: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Serve below `folder`, send inputs, and return the rows of the table and what was found."""
    whole = originals()
    answers = Answers(outcomes={kind: Counter() for kind in whole})
    home, scratch = folder / "home", folder / "scratch"
    scratch.mkdir()
    with (
        running_service(home, TMPDIR=str(scratch)) as service,
        httpx.Client(base_url=service.url, timeout=120, trust_env=False) as client,
    ):
        client.headers["Authorization"] = f"Bearer {service.key}"
        for name in ("uploaded", "imported"):
            client.post("/v1/datasets", json={"name": name}).raise_for_status()
        before = set(folder.rglob("*"))
        first = [(kind, "whole", data) for kind, same in whole.items() for data in same]
        send_all(client, iter(first), answers)  # now all processes have started
        running = _lasting(service)
        with sampled_memory(service.pid) as memory:
            send_all(client, (mutated(n, seed, whole) for n in range(count)), answers)
        ended = [role for role, pids in running.items() if _lasting(service)[role] != pids]
        collect_all(client, home)
        stray = unaccounted(folder, home, before=before)
    peaks = {role: size / MEGABYTE for role, size in memory.peaks().items()}
    found = {"faults": answers.faults, "ended": ended, "stray": stray, "peak_mb": peaks}
    return list(_rows(answers)), found


def _lasting(service: Service) -> dict[str, list[int]]:
    """Return the processes that no input may end; a decoder may, and is replaced."""
    found = processes_by_role(service.pid)
    return {role: found[role] for role in ("server", "supervisor", "worker", "inference")}


def _rows(answers: Answers) -> Iterator[dict[str, Any]]:
    for kind, outcomes in answers.outcomes.items():
        sent = outcomes.total()
        accepted = sum(outcomes.pop(name, 0) for name in ("created", "duplicate", "succeeded"))
        refused = ", ".join(f"{name} {times}" for name, times in outcomes.most_common())
        yield {"kind": kind, "sent": sent, "accepted": accepted, "refused": refused}


def failures(found: dict[str, Any]) -> Sequence[str]:
    """Return a line for each thing that should not be."""
    return [
        *found["faults"],
        *(f"the {role} has ended" for role in found["ended"]),
        *(f"a file that no row names: {name}" for name in found["stray"]),
        *(
            f"the {role} took {size:.0f} MB"
            for role, size in found["peak_mb"].items()
            if size >= MOST_MEGABYTES
        ),
    ]


def main() -> None:
    """Send mutated inputs; end with an error if anything is wrong."""
    parser = argparse.ArgumentParser(prog="make test-inputs ARGS=...", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="how many are sent")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perennial-inputs-") as folder:
        rows, found = run(Path(folder), given.inputs, given.seed)
    show("peak memory, MB", [found["peak_mb"]])
    publish("inputs", rows, **vars(given), **found)
    print(*failures(found), sep="\n")
    sys.exit(bool(failures(found)))


OLD_S = 2 * 3600  # older than the least grace of a collection

_ARTIFACT = re.compile(r"artifacts/([0-9a-f]{2})/([0-9a-f]{62})")

_EMBEDDED = re.compile(r"perennial\.db(-wal|-shm)?|service\.log|broker/.*")


def collect_all(client: httpx.Client, home: Path) -> None:
    """Have every artifact that no row names collected, whatever its age."""
    then = time.time() - OLD_S
    for path in _files(home / "artifacts"):
        os.utime(path, (then, then))
    answer = client.post("/v1/gc", json={"older_than_hours": 1})
    if answer.status_code != 200 or not answer.json()["complete"]:
        raise RuntimeError(answer.text)


def unaccounted(folder: Path, home: Path, *, before: set[Path]) -> list[str]:
    """Return the files in `folder` that were not there before and that nothing knows.

    Known are the artifacts that rows name and, in `home`, the database, the log and the broker.
    """
    known = _named_by_rows(home)
    found = []
    for path in set(_files(folder)) - before:
        name = str(path.relative_to(home)) if path.is_relative_to(home) else ""
        artifact = _ARTIFACT.fullmatch(name)
        if not (_EMBEDDED.fullmatch(name) or (artifact and "".join(artifact.groups()) in known)):
            found.append(str(path.relative_to(folder)))
    return sorted(found)


def _named_by_rows(home: Path) -> set[str]:
    settings = Settings(home=home, database_url="", artifacts_url="")
    with bootstrap.opened(settings) as platform:
        with platform.transactions(read_only=True) as work:
            roots, erased = roots_of(work[ArtifactRoots]), work[ArtifactRoots].erased()
        return set(expand(platform.artifacts, roots, erased=erased).kinds)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


if __name__ == "__main__":
    main()
