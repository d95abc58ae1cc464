"""SIGKILL of the worker that runs a job, and what the job has brought once it has ended.

An import of an archive brings all of it or nothing yet, an export a file that is always the same or
none, an import of a bundle a whole version or none, and after an erasure the image is gone and the
line is as if it never had it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from random import Random
from time import sleep
from typing import Any

from core.datasets.rows import ErasedImages
from core.jobs.rules import JobStatus
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.values import JobId, sha256
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try, each
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture
from tests.support.bundles import unpacked

EXPORTS = f"/v1/models/{line.MODEL}/versions/1/exports"

EXPORT = f"{EXPORTS}/open_clip"

IMAGES = 40

FILES = {f"shape {n % 3}/{n}.png": picture(700 + n, side=64) for n in range(IMAGES)}

ARCHIVE = zipped(FILES)

COPY = "/v1/models/copy"  # a model with the same root, as it would be on another service

Draft = dict[str, tuple[list[str], str | None]]  # by pixels


def _run(
    stage: Stage,
    tries: int,
    moments: Random,
    points: Mapping[str, object],
    order: Callable[[], JobId],
    brought: Callable[[], object],
    result: Callable[[], object],
) -> Iterator[Try]:
    """By turns at a named point and at a random moment, after a job that nothing disturbs.

    `order` orders the job when nothing is left of what it brought before, `points` tells what it
    has `brought` at each point, `result` reads every byte of what it brought in the end.
    """
    began = now()
    stage.wait_for_end(order())
    lasts_s, wanted = now() - began, result()
    for number in range(tries):
        stage.ready()
        trouble = ""
        if number % 2 == 0:
            where = [*points][number // 2 % len(points)]
            stage.points.arm(where, signal=KILL, whole=True)
            ordered = order()
            struck = stage.struck_at(where)
            stage.wait_for_api()
            if (early := brought()) != points[where]:
                trouble = f"it had brought {early}"
        else:
            delay_s = lasts_s * moments.random()
            where = f"{delay_s:.2f} s"
            ordered = order()
            sleep(delay_s)
            struck = now()
            if holder := stage.holder(ordered):
                stage.kill(*holder)
        ended = stage.wait_for_end(ordered)
        stage.wait_for_api()
        last = result()
        good = ended.status is JobStatus.SUCCEEDED
        if not good or last != wanted:
            trouble = trouble or f"{ended.status}, {ended.error}, {last}"[:500]
        yield Try(
            what=f"worker at {where}",
            trouble=trouble,
            lost=0 if good else 1,
            duplicated=line.kinds(stage.platform, ended).count("done") - 1,
            equal=last == wanted,
            recovery_s=stage.claimed_after(ordered, struck),
        )


def exports(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one export after another, each ordered once the last was deleted."""
    stage.ready()
    client = stage.client

    def order() -> JobId:
        client.delete(EXPORT)
        return stage.accepted(EXPORTS, json={"format": "open_clip"})

    def result() -> tuple[str, bool]:
        """The digest of the file, as downloaded, and whether it is the one that is shown."""
        assert not [*(stage.settings.home / "exporting").glob("*/*")]
        shown = client.get(EXPORT).raise_for_status().json()["artifact"]
        digest = sha256(client.get(f"{EXPORT}/download").raise_for_status().content)
        return digest, digest == shown

    points = {"export.before": False, "export.after": True}  # whether it is there

    def is_there() -> bool:
        return client.get(EXPORT).is_success

    yield from _run(stage, tries, moments, points, order, is_there, result)


def imports(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one import after another, each into a dataset of its own."""
    stage.ready()
    names = (f"struck-{number}-{now():.0f}" for number in count())
    made: list[tuple[str, JobId]] = []

    def order() -> JobId:
        dataset = new_dataset(stage, next(names))
        path, headers = f"/v1/datasets/{dataset}/imports", {"Content-Type": "application/zip"}
        made.append((dataset, stage.accepted(path, content=ARCHIVE, headers=headers)))
        return made[-1][1]

    def result() -> tuple[list[str], Draft]:
        """The outcomes of the report and the draft."""
        dataset, job = made[-1]
        report = stage.client.get(f"/v1/jobs/{job}/report", headers={"Accept": "text/csv"})
        return report.text.splitlines(), draft_of(stage, dataset)

    none_yet = dict.fromkeys(("put-imported.after", "import.before", "put-file-report.after"), 0)
    points = {**none_yet, "import.after": IMAGES}  # images in the draft

    def brought() -> int:
        return len(draft_of(stage, made[-1][0]))

    yield from _run(stage, tries, moments, points, order, brought, result)


def new_dataset(stage: Stage, name: str) -> str:
    stage.client.post("/v1/datasets", json={"name": name}).raise_for_status()
    return name


def draft_of(stage: Stage, dataset: str) -> Draft:
    """The images that a dataset holds, with their classes."""
    answer: Any = stage.client.get(f"/v1/datasets/{dataset}/images?limit=200").json()
    return {one["pixels"]: (one["texts"], one["near_duplicate_of"]) for one in answer["data"]}


def versions(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the worker of one import after another, each once the last version was deleted."""
    stage.ready()
    client, bundle = stage.client, _bundle(stage)
    body = line.model_body(stage.settings.home / "base") | {"name": "copy"}
    answer = client.post("/v1/models", json=body)
    if answer.status_code == 202:
        stage.wait_for_end(JobId(answer.json()["id"]))

    def numbers() -> list[int]:
        return [one["version"] for one in client.get(f"{COPY}/versions").json()["data"]]

    def delete_all_but_the_root() -> None:
        for version in numbers()[1:]:
            client.delete(f"{COPY}/versions/{version}?reason=test").raise_for_status()

    def order() -> JobId:
        delete_all_but_the_root()
        headers = {"Content-Type": "application/x-tar"}
        return stage.accepted(f"{COPY}/imports", content=bundle, headers=headers)

    def result() -> tuple[int, str]:
        """The number of versions and the weights of the newest, each tensor verified."""
        path = f"{COPY}/versions/{numbers()[-1]}/download"
        files = unpacked(client.get(path).raise_for_status().content)
        return len(numbers()), sha256(files["open_clip_model.safetensors"])

    # Versions: the root alone before the commit.
    points = {"put-bundled.after": 1, "version.before": 1, "version.after": 2}
    yield from _run(stage, tries, moments, points, order, lambda: len(numbers()), result)
    delete_all_but_the_root()


def _bundle(stage: Stage) -> bytes:
    """The bundle of a version that an update has just made: the next `ready` forgets its bytes."""
    version = stage.wait_for_end(stage.order()).version
    exports = f"/v1/models/{line.MODEL}/versions/{version}/exports"
    stage.wait_for_end(stage.accepted(exports, json={"format": "bundle"}))
    return stage.client.get(f"{exports}/bundle/download").raise_for_status().content


ERASED_FROM = 24  # images

# By turns: rows written, rows committed and bytes not yet deleted, the version that replaces
# another one written.
ERASE_POINTS = ("erase.before", "erase.after", "publish.before")

SHORT = {**line.RECIPE.to_json(), "epochs": 2}


@each
def erasures(stage: Stage, number: int, moments: Random) -> Try:
    """Each with images of its own, for what was erased is not let in again."""
    point, first = ERASE_POINTS[number % len(ERASE_POINTS)], moments.randrange(10**6, 10**9)
    seeds, name = range(first, first + ERASED_FROM), f"taken-{first}"
    taught = stage.wait_for_end(_teach(stage, name, seeds))
    listed = stage.client.get(f"/v1/datasets/{name}/images?limit=200").json()["data"]
    gone = next(one for one in listed if one["side"] == "train")
    with stage.platform.transactions(read_only=True) as work:
        form = work[ErasedImages].forms([gone["pixels"]])[gone["pixels"]]
    stage.points.arm(point, signal=KILL, whole=True)
    order = {"images": [gone["pixels"]], "reason": "asked for"}
    answer = stage.client.post("/v1/erasures", json=order).raise_for_status()
    struck = stage.struck_at(point)
    erasure = _erased(stage, answer.json()["id"])
    again = [
        JobId(one["id"]) for one in stage.client.get(erasure["links"]["updates"]).json()["data"]
    ]
    left = [seed for seed in seeds if f"{seed}.png" != gone["file"]]
    control = stage.wait_for_end(_teach(stage, f"{name}-control", left))
    repeated = [stage.find(job) for job in again]
    struck_job = repeated[0].id if point.startswith("publish") else JobId(erasure["job"])
    frozen = stage.client.get(f"/v1/datasets/{name}/versions").json()["data"]
    return Try(
        what=f"worker at {point}",
        trouble="its bytes are stored" if stage.platform.artifacts.has(form) else "",
        lost=sum(job.status is not JobStatus.SUCCEEDED for job in repeated),
        duplicated=abs(len(repeated) - 1)
        + abs(len(frozen) - 2)
        + _wrongly_replaced(stage, taught.version),
        equal=[line.digest_of(stage.platform, job) for job in repeated]
        == [line.digest_of(stage.platform, control)],
        recovery_s=stage.claimed_after(struck_job, struck),
    )


def _teach(stage: Stage, name: str, seeds: Sequence[int]) -> JobId:
    """A new dataset of pictures, and a short update of the root with it."""
    stage.upload(name, [(f"shape {s % 2}", (f"{s}.png", picture(s))) for s in seeds])
    stage.client.post(f"/v1/datasets/{name}/versions").raise_for_status()
    return stage.order(dataset=name, recipe=SHORT, auto_promote=False)


def _erased(stage: Stage, erasure: str) -> dict[str, Any]:
    """The erasure once nothing more happens; whoever dies meanwhile is started again."""

    def ended() -> dict[str, Any] | None:
        stage.mend()
        stage.wait_for_api()
        found: dict[str, Any] = stage.client.get(f"/v1/erasures/{erasure}").json()
        return None if found["status"] in {"erasing", "retraining"} else found

    return until(ended)


def _wrongly_replaced(stage: Stage, number: int | None) -> int:
    """Return how many versions more than one replace another one."""
    with stage.platform.transactions(read_only=True) as work:
        versions = work[Versions].all(work[Models].get(line.MODEL).id)
    return abs(sum(version.replaces == number for version in versions) - 1)
