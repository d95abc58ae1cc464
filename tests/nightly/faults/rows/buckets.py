"""The server of a bucket dies, answers 500 or breaks off within an object that an import reads."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from random import Random
from urllib.parse import unquote, urlsplit

from core.values import JobId
from tests.nightly.faults.rows.killed_worker import FILES, Draft, draft_of, new_dataset
from tests.nightly.faults.stage import Stage, now
from tests.nightly.faults.tries import Try
from tests.support.servers.answering import QuietHandler, answering

OBJECTS = {f"shop/{name}": data for name, data in FILES.items()}

LISTING = "".join(
    f"<Contents><Key>{key}</Key><Size>{len(data)}</Size>"
    f"<ETag>{hashlib.sha256(data).hexdigest()}</ETag></Contents>"
    for key, data in OBJECTS.items()
)

ALWAYS = 10**6

WAYS = (("cut", 1), ("kill", ALWAYS), ("error", 1), ("error", ALWAYS), ("cut", ALWAYS))

Ended = tuple[str, str, Draft]  # error, report, draft

FAILED: Ended = ("bucket_unavailable", "file_report_not_found", {})


@contextmanager
def bucket(stage: Stage, faults: Iterator[str] = repeat("")) -> Iterator[None]:
    """Serve the bucket; `faults` says what happens at each object that is asked for.

    `cut`: it breaks off within the object; `error`: the answer is 500; `kill`: it breaks off, and
    the server answers nobody any more.
    """
    one_at_a_time = threading.Lock()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            """List the objects, or send one of them, from where it is asked for."""
            _, _, key = unquote(urlsplit(self.path).path).strip("/").partition("/")
            if not key:
                self._send(200, f"<ListBucketResult>{LISTING}</ListBucketResult>".encode())
                return
            with one_at_a_time:
                fault = next(faults)
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            if fault == "error":
                self._send(500, b"<Error><Code>InternalError</Code></Error>")
                return
            self._send(206 if start else 200, OBJECTS[key][start:], half=bool(fault))
            if fault == "kill":
                self.server.shutdown()
                self.server.server_close()

        def _send(self, status: int, data: bytes, *, half: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if half else data)

    (place,) = stage.settings.import_buckets
    with answering(Handler, port=urlsplit(place.endpoint).port or 0):
        yield


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns, each into a dataset of its own, after an import that nothing disturbs."""
    stage.ready()
    dataset = new_dataset(stage, f"bucket-{now():.0f}")
    with bucket(stage):
        wanted = _ended(stage, dataset, _order(stage, dataset))
    for number in range(tries):
        stage.ready()
        dataset = new_dataset(stage, f"bucket-{number}-{now():.0f}")
        (kind, times), after = WAYS[number % len(WAYS)], moments.randrange(len(OBJECTS))
        with bucket(stage, chain(repeat("", after), repeat(kind, times), repeat(""))):
            job = _order(stage, dataset)
            ended = _ended(stage, dataset, job)
        trouble, took = "", None
        if times > 1:  # with a server that is whole again it ends well
            trouble = "" if ended == FAILED else f"it ended as {ended}"[:500]
            back = now()
            with bucket(stage):
                again = stage.accepted(f"/v1/jobs/{job}/retry")
                ended = _ended(stage, dataset, again)
            took = now() - back
        yield Try(
            what=f"{kind} {'once' if times == 1 else 'always'}, {after} objects read",
            trouble=trouble,
            lost=len(wanted[-1].keys() - ended[-1].keys()),
            duplicated=len(ended[-1].keys() - wanted[-1].keys()),
            equal=ended == wanted,
            recovery_s=took,
        )


def _order(stage: Stage, dataset: str) -> JobId:
    (place,) = stage.settings.import_buckets
    source = {"s3": f"s3://{place.name}/shop"}
    return stage.accepted(f"/v1/datasets/{dataset}/imports", params=source)


def _ended(stage: Stage, dataset: str, job: JobId) -> Ended:
    ended = stage.wait_for_end(job)
    stage.wait_for_api()
    report = stage.client.get(f"/v1/jobs/{job}/report", headers={"Accept": "text/csv"})
    error = str((ended.error or {}).get("code", ""))
    told = report.text if report.is_success else report.json()["code"]
    return error, told, draft_of(stage, dataset)
