"""The server of a bucket dies, answers 500 or breaks off within an object that an import reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from core.values import JobId
from tests.nightly.faults.bucket_server import BucketServer, Fault
from tests.nightly.faults.rows.killed_worker import FILES, Draft, draft_of, new_dataset
from tests.nightly.faults.stage import Stage, now
from tests.nightly.faults.tries import Try

OBJECTS = {f"shop/{name}": data for name, data in FILES.items()}

ALWAYS = 10**6


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to fail, from an object on that is drawn."""

    what: str
    kind: str
    times: int = ALWAYS
    is_survived: bool = False  # whether the import goes on by itself


WAYS = (
    Way(what="breaking off once", kind="cut", times=1, is_survived=True),
    Way(what="killed", kind="kill"),
    Way(what="answering 500 once", kind="error", times=1, is_survived=True),
    Way(what="answering 500", kind="error"),
    Way(what="breaking off always", kind="cut"),
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of an import."""

    error: str
    report: str
    draft: Draft


FAILED = Ended(error="bucket_unavailable", report="file_report_not_found", draft={})


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns, each into a dataset of its own, after an import that nothing disturbs."""
    stage.ready()
    (bucket,) = stage.settings.import_buckets
    server = BucketServer(bucket, OBJECTS)
    dataset = new_dataset(stage, f"bucket-{now():.0f}")
    wanted = _ended(stage, dataset, _order(stage, dataset))
    for number in range(tries):
        stage.ready()
        dataset = new_dataset(stage, f"bucket-{number}-{now():.0f}")
        way, after = WAYS[number % len(WAYS)], moments.randrange(len(OBJECTS))
        server.fault = Fault(kind=way.kind, after=after, times=way.times)
        job = _order(stage, dataset)
        ended = _ended(stage, dataset, job)
        server.stop()
        server = BucketServer(bucket, OBJECTS)
        yield _judged(stage, dataset, job, ended, f"{way.what}, {after} objects read", way, wanted)
    server.stop()


def _judged(
    stage: Stage, dataset: str, job: JobId, ended: Ended, what: str, way: Way, wanted: Ended
) -> Try:
    """How the import ended, and if it failed, how it ends once the server is whole again."""
    trouble, took = "", None
    if not way.is_survived:
        trouble = "" if ended == FAILED else f"it ended as {ended}"[:500]
        back = now()
        again = stage.client.post(f"/v1/jobs/{job}/retry")
        if again.status_code == 202:
            ended = _ended(stage, dataset, JobId(again.json()["id"]))
        took = now() - back
    return Try(
        what=what,
        trouble=trouble,
        lost=len(wanted.draft.keys() - ended.draft.keys()),
        duplicated=len(ended.draft.keys() - wanted.draft.keys()),
        equal=ended == wanted,
        recovery_s=took,
    )


def _order(stage: Stage, dataset: str) -> JobId:
    (bucket,) = stage.settings.import_buckets
    source = {"s3": f"s3://{bucket.name}/shop"}
    return stage.accepted(f"/v1/datasets/{dataset}/imports", params=source)


def _ended(stage: Stage, dataset: str, job: JobId) -> Ended:
    ended = stage.wait_for_end(job)
    stage.wait_for_api()
    report = stage.client.get(f"/v1/jobs/{job}/report", headers={"Accept": "text/csv"})
    return Ended(
        error=str((ended.error or {}).get("code", "")),
        report=report.text if report.is_success else report.json()["code"],
        draft=draft_of(stage, dataset),
    )
