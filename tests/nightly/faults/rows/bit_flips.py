"""One flipped bit in an artifact of each kind: found before it is served, and healed."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random

import httpx

from core.artifacts.store import ArtifactKind
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.errors import ArtifactCorrupt
from core.jobs.rules import JobStatus
from core.registry.aliases import PRODUCTION
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Version
from core.upkeep.gc import roots_of, tensors_of
from core.upkeep.rows import ArtifactRoots
from core.values import Digest, JobId, sha256
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL
from tests.nightly.faults.rows.workers import judge
from tests.nightly.faults.stage import Stage, now
from tests.nightly.faults.tries import Try

CODE = "artifact_corrupt"

MODEL = f"/v1/models/{line.MODEL}"

ALIAS = f"{MODEL}/aliases/{PRODUCTION}"

Ask = Callable[[Stage, Version], httpx.Response]


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    stage.ready()
    stage.wait_for_end(stage.order())
    for way in itertools.islice(itertools.cycle(WAYS), tries):
        yield way(stage, moments)


# ---- Ways to read ---------------------------------------------------------------------------


def reading(stage: Stage, moments: Random, kind: ArtifactKind, ask: Ask) -> Try:
    """Ask the API for what rests on the damaged bytes; then, with whole ones, once more."""
    version = newest(stage)
    tensors = sorted(tensors_of(stage.platform.artifacts, version.digest))
    digest = {
        ArtifactKind.TENSOR: moments.choice(tensors),
        ArtifactKind.WEIGHTS: version.digest,
        ArtifactKind.REPORT: version.report,
    }[kind]
    begin_again(stage)
    before = ask(stage, version)
    begin_again(stage)
    with flipped(stage, digest, moments) as what:
        trouble = refusal(ask(stage, version))
    after = ask(stage, version)
    if before.status_code != 200 or sha256(after.content) != sha256(before.content):
        trouble = trouble or f"with whole bytes: {after.status_code}, {after.text[:200]}"
    return Try(what=f"{kind} {what} by {ask.__name__}", trouble=trouble)


def download(stage: Stage, version: Version) -> httpx.Response:
    return stage.client.get(f"{MODEL}/versions/{version.number}/download")


def report(stage: Stage, version: Version) -> httpx.Response:
    return stage.client.get(f"{MODEL}/versions/{version.number}/forgetting")


def promotion(stage: Stage, version: Version) -> httpx.Response:
    """Make it live, and tell its digest."""
    tag = {"If-Match": stage.client.get(ALIAS).headers["ETag"]}
    body = {"version": version.number, "reason": "a flipped bit", "override": True}
    answer = stage.client.put(ALIAS, json=body, headers=tag)
    return httpx.Response(200, text=answer.json()["digest"]) if answer.is_success else answer


# ---- Jobs -----------------------------------------------------------------------------------


def learning(stage: Stage, moments: Random, choose_one: Callable[[Stage, Random], Digest]) -> Try:
    """An update that needs the damaged bytes is refused or fails; tried again, it succeeds."""
    stage.ready()
    with flipped(stage, choose_one(stage, moments), moments) as what:
        answer = stage.client.post("/v1/jobs", json=line.body())
        accepted = answer.status_code == 202
        if accepted:
            ended = stage.wait_for_end(JobId(answer.json()["id"]))
            code = (ended.error or {}).get("code")
            trouble = "" if code == CODE else f"{ended.status}, {ended.error}"
        else:
            trouble = refusal(answer)
    healed = now()
    if accepted and not trouble:
        again = stage.accepted(f"/v1/jobs/{ended.id}/retry")
    else:
        again = stage.order()
    how = "failed" if accepted else "was refused"
    kind = choose_one.__name__.replace("_", " ")
    return judge(stage, again, healed, f"{kind} {what} by an update that {how}", trouble)


def scoring(stage: Stage, moments: Random) -> Try:
    """Damaged answers are asked for again: the same report, and they are whole, or replaced."""
    line.go_back_to_root(stage.platform)  # which was live when the version was scored
    version = newest(stage)
    digest = moments.choice(sorted(answers_in(stage)))
    with flipped(stage, digest, moments) as what:
        body = {"type": "evaluate", "model": line.MODEL, "version": version.number}
        ended = stage.wait_for_end(stage.accepted("/v1/jobs", json=body))
        healed = is_whole(stage, digest) or digest not in answers_in(stage)
    same = newest(stage).report == version.report
    trouble = "" if healed else "the damaged answers stayed"
    if ended.status is not JobStatus.SUCCEEDED or not same:
        trouble = f"{ended.status}, {ended.error}, the same report: {same}"
    return Try(what=f"answers {what} by an evaluation", trouble=trouble)


def answers_in(stage: Stage) -> set[Digest]:
    """The artifacts of answers, and of the evidence of reports."""
    with stage.platform.transactions(read_only=True) as work:
        return set(roots_of(work[ArtifactRoots])[ArtifactKind.ANSWERS])


def resuming(stage: Stage, moments: Random) -> Try:
    """A worker dies after a checkpoint that is damaged then: its heir starts over."""
    stage.ready()
    stage.points.arm("checkpoint.after", signal=KILL, whole=True)
    job = stage.order()
    struck = stage.struck_at("checkpoint.after")
    with flipped(stage, stage.find(job).checkpoint, moments) as what:
        return judge(stage, job, struck, f"checkpoint {what} by an update that resumes")


# ---- Damage ---------------------------------------------------------------------------------


def manifest(stage: Stage, moments: Random) -> Digest:
    """The list of what is learned, or of what is not to be forgotten."""
    return manifest_of(stage, moments.choice((line.DATASET, line.SUITE)))


def manifest_of(stage: Stage, dataset: str) -> Digest:
    with stage.platform.transactions(read_only=True) as work:
        return work[Datasets].version(work[Datasets].get(dataset).id, 1).manifest


def trained_image(stage: Stage, moments: Random) -> Digest:
    listed = manifest_of(stage, line.DATASET)
    entries = read_manifest(stage.platform.artifacts, listed).entries
    learned = [one.artifact for one in entries if one.side is Side.TRAIN]
    return moments.choice(sorted(learned))


@contextmanager
def flipped(stage: Stage, digest: Digest, moments: Random) -> Iterator[str]:
    """A bit of an artifact is wrong meanwhile; which one. In the end it is what it was."""
    path = stage.settings.artifacts / digest[:2] / digest[2:]
    before = path.read_bytes()
    bit = moments.randrange(8 * len(before))
    data = bytearray(before)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    try:
        assert not is_whole(stage, digest), f"bit {bit}"
        yield f"{digest[:8]}, bit {bit} of {8 * len(before)},"
    finally:
        if path.exists():
            path.write_bytes(before)


def is_whole(stage: Stage, digest: Digest) -> bool:
    try:
        stage.platform.artifacts.get(digest)
    except ArtifactCorrupt:
        return False
    return True


# ---- What is asked --------------------------------------------------------------------------


def newest(stage: Stage) -> Version:
    """The version that the last update made, whole."""
    with stage.platform.transactions(read_only=True) as work:
        return work[Versions].all(work[Models].get(line.MODEL).id)[-1]


def begin_again(stage: Stage) -> None:
    """Have version 1 live, as before a promotion, and the next download laid out anew."""
    line.go_back_to_root(stage.platform)
    for path in (stage.settings.home / "exports").glob("*.tar"):
        path.unlink()


def refusal(answer: httpx.Response) -> str:
    """Trouble, unless this answer says that stored bytes are damaged."""
    if answer.status_code == 500 and answer.json()["code"] == CODE:
        return ""
    return f"answered {answer.status_code}: {answer.text[:200]}"


# The ways in which stored bytes reach anybody.
WAYS = (
    partial(reading, kind=ArtifactKind.TENSOR, ask=download),
    partial(reading, kind=ArtifactKind.WEIGHTS, ask=download),
    partial(reading, kind=ArtifactKind.REPORT, ask=report),
    partial(reading, kind=ArtifactKind.TENSOR, ask=promotion),
    partial(reading, kind=ArtifactKind.WEIGHTS, ask=promotion),
    partial(learning, choose_one=trained_image),
    partial(learning, choose_one=manifest),
    scoring,
    resuming,
)
