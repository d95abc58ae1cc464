"""SIGKILL of a worker that erases an image: it is gone, and the line is as if it never had it."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from core.datasets.rows import ErasedImages
from core.jobs.rules import JobStatus
from core.registry.rows import Models, Versions
from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL, Blow
from tests.nightly.faults.stage import Stage, until
from tests.nightly.faults.tries import Try
from tests.support.api.image_files import picture

IMAGES = 24

# By turns: rows written, rows committed and bytes not yet deleted, the version that replaces
# another one written.
POINTS = ("erase.before", "erase.after", "publish.before")

SHORT = {**line.RECIPE.to_json(), "epochs": 2}


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Each with images of its own, for what was erased is not let in again."""
    for number in range(tries):
        stage.ready()
        first = moments.randrange(10**6, 10**9)
        yield _strike(stage, POINTS[number % len(POINTS)], range(first, first + IMAGES))


def _strike(stage: Stage, point: str, seeds: range) -> Try:
    name = f"taken-{seeds.start}"
    taught = stage.wait_for_end(_teach(stage, name, seeds))
    listed = stage.client.get(f"/v1/datasets/{name}/images?limit=200").json()["data"]
    gone = next(one for one in listed if one["side"] == "train")
    with stage.platform.transactions(read_only=True) as work:
        form = work[ErasedImages].forms([gone["pixels"]])[gone["pixels"]]
    stage.points.arm(point, Blow(signal=KILL, whole=True))
    order = {"images": [gone["pixels"]], "reason": "asked for"}
    answer = stage.client.post("/v1/erasures", json=order).raise_for_status()
    struck = until(lambda: stage.points.struck_at(point))
    erasure = _ended(stage, answer.json()["id"])
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
        duplicated=abs(len(repeated) - 1) + abs(len(frozen) - 2) + _versions(stage, taught.version),
        equal=[line.digest_of(stage.platform, job) for job in repeated]
        == [line.digest_of(stage.platform, control)],
        recovery_s=stage.claimed_after(struck_job, struck),
    )


def _teach(stage: Stage, name: str, seeds: Sequence[int]) -> JobId:
    """A new dataset of pictures, and a short update of the root with it."""
    stage.upload(name, [(f"shape {s % 2}", (f"{s}.png", picture(s))) for s in seeds])
    stage.client.post(f"/v1/datasets/{name}/versions").raise_for_status()
    return stage.order(dataset=name, recipe=SHORT, auto_promote=False)


def _ended(stage: Stage, erasure: str) -> dict[str, Any]:
    """The erasure once nothing more happens; whoever dies meanwhile is started again."""

    def ended() -> dict[str, Any] | None:
        stage.mend()
        stage.wait_for_api()
        found: dict[str, Any] = stage.client.get(f"/v1/erasures/{erasure}").json()
        return None if found["status"] in {"erasing", "retraining"} else found

    return until(ended)


def _versions(stage: Stage, number: int | None) -> int:
    """Return how many versions more than one replace another one."""
    with stage.platform.transactions(read_only=True) as work:
        versions = work[Versions].all(work[Models].get(line.MODEL).id)
    return abs(sum(version.replaces == number for version in versions) - 1)
