"""Compression of documents, and of nothing else."""

import gzip
from collections.abc import Mapping

from httpx import Response

from tests.support.api.orders import update
from tests.support.api.service import EMBEDDED, Service

pytestmark = EMBEDDED
POLICIES = "/v1/gate-policies"
GZIP, PLAIN = {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}


def get(service: Service, path: str, headers: Mapping[str, str] = GZIP) -> Response:
    answer: Response = service.client.get(path, headers=headers)
    return answer


def raw(service: Service, path: str) -> bytes:
    """The bytes of an answer as they are sent."""
    with service.client.stream("GET", path, headers=GZIP) as answer:
        return b"".join(answer.iter_raw())


def test_large_documents_are_compressed_for_clients_that_take_it(service: Service) -> None:
    for name in ("one", "two", "three", "four"):
        service.client.post("/v1/gate-policies", json={"name": name})
    plain, packed = (get(service, POLICIES, headers) for headers in (PLAIN, GZIP))
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert gzip.decompress(raw(service, POLICIES)) == plain.content
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["vary"]
        assert answer.headers["etag"] == plain.headers["etag"]


def test_small_documents_are_sent_as_they_are(service: Service) -> None:
    assert "content-encoding" not in get(service, "/v1/models").headers


def test_downloads_and_event_streams_are_sent_as_they_are(ready: Service) -> None:
    download = get(ready, "/v1/models/demo/versions/1/download")
    assert "content-encoding" not in download.headers
    assert int(download.headers["content-length"]) > 2048
    part = get(ready, "/v1/models/demo/versions/1/download", {**GZIP, "Range": "bytes=0-1999"})
    assert (part.status_code, part.content) == (206, download.content[:2000])
    job = ready.client.post("/v1/jobs", json=update()).json()
    ready.client.post(job["links"]["cancel"])
    stream = get(ready, job["links"]["events"], {**GZIP, "Accept": "text/event-stream"})
    assert "content-encoding" not in stream.headers
    assert "event: done" in stream.text
