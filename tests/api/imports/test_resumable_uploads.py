"""Resumable uploads: in parts, cut off and continued, and imported when they are whole."""

import hashlib
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.http.bodies import AT_ONCE
from core.imports import uploads
from core.operations.maintenance import delete_expired
from core.principal import Role
from core.values import sha256
from tests.support.api.archives import tarred
from tests.support.api.image_files import picture
from tests.support.api.imports import PRODUCTS, Imports, importing
from tests.support.api.served import serving
from tests.support.api.service import EMBEDDED, KEY, Service, code_of, running, settings_of
from tests.support.processes import wait_for

ARCHIVE = tarred({"boot/1.png": picture(1), "bag/2.png": picture(2, side=200)})

TUS = {"Tus-Resumable": "1.0.0"}

PART = TUS | {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def imports(service: Service) -> Iterator[Imports]:
    with importing(service) as found:
        yield found


def create(service: Service, length: int = len(ARCHIVE)) -> str:
    answer = service.client.post("/v1/uploads", headers=TUS | {"Upload-Length": f"{length}"})
    assert answer.status_code == 201, answer.text
    assert answer.headers["upload-expires"].endswith(" GMT")
    return str(answer.headers["location"])


def send(
    service: Service, path: str, data: bytes, offset: int, headers: Mapping[str, str] = PART
) -> Any:
    return service.client.patch(
        path, content=data, headers={**headers, "Upload-Offset": f"{offset}"}
    )


def checksum(algorithm: str, data: bytes) -> dict[str, str]:
    digest = hashlib.new(algorithm, data).digest()
    return {"Upload-Checksum": f"{algorithm} {b64encode(digest).decode()}"}


def test_a_file_comes_in_parts_and_is_imported(imports: Imports) -> None:
    service, client = imports.service, imports.service.client
    path = create(service)
    here, query = path.rpartition("/")[2], {"upload": path.rpartition("/")[2]}
    half = len(ARCHIVE) // 2
    assert send(service, path, ARCHIVE[:half], 0).status_code == 204
    answer = client.post(f"{PRODUCTS}/imports", params=query)
    assert code_of(answer) == (409, "upload_incomplete")
    answer = client.head(path, headers=TUS)
    assert answer.headers["upload-offset"] == f"{half}"
    assert answer.headers["upload-length"] == f"{len(ARCHIVE)}"
    assert answer.headers["cache-control"] == "no-store"
    answer = send(service, path, ARCHIVE[half:], half, PART | checksum("sha1", ARCHIVE[half:]))
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, f"{len(ARCHIVE)}")
    assert client.get(path).json()["id"] == here
    headers = {"Idempotency-Key": "once"}
    jobs = [
        client.post(f"{PRODUCTS}/imports", params=query, headers=headers).json() for _ in range(2)
    ]
    assert jobs[0] == jobs[1]
    assert jobs[0]["images"]["archive"] == sha256(ARCHIVE)
    service.platform.artifacts.delete(sha256(ARCHIVE[half:]))
    answer = client.post(f"{PRODUCTS}/imports", params=query)
    assert code_of(answer) == (410, "upload_expired")  # a part of it is lost
    assert client.delete(path, headers=TUS).status_code == 204
    imports.work()
    assert imports.job(jobs[0])["result"]["created"] == 2


def test_what_does_not_fit_is_refused_and_changes_nothing(service: Service) -> None:
    told = service.client.options("/v1/uploads").headers
    assert told["tus-extension"] == "creation,expiration,checksum,termination"
    assert told["tus-max-size"] == f"{service.settings.max_upload_bytes}"
    path = create(service, 10)
    assert send(service, path, b"12345", 0).status_code == 204
    refused = [
        (0, b"67890", PART, (409, "offset_mismatch")),
        (6, b"67890", PART, (409, "offset_mismatch")),
        (5, b"678901", PART, (413, "body_too_large")),
        (5, b"6", PART | checksum("sha256", b"7"), (460, "checksum_mismatch")),
        (5, b"6", PART | {"Upload-Checksum": "md5 eA=="}, (400, "malformed")),
        (5, b"6", PART | {"Upload-Checksum": "sha1 !"}, (400, "malformed")),
        (5, b"6", PART | {"Tus-Resumable": "0.2"}, (412, "tus_version")),
        (5, b"6", TUS, (415, "unsupported_media_type")),
    ]
    with service.untouched():
        for offset, data, headers, refusal in refused:
            assert code_of(send(service, path, data, offset, headers)) == refusal
        for headers, refusal in (
            (TUS, (422, "field_invalid")),
            ({"Upload-Length": "1"}, (412, "tus_version")),
            (TUS | {"Upload-Length": f"{2**33}"}, (413, "body_too_large")),
        ):
            assert code_of(service.client.post("/v1/uploads", headers=headers)) == refusal
    assert send(service, path, b"67890", 5, PART | checksum("sha256", b"67890")).status_code == 204


def test_an_upload_belongs_to_the_key_that_made_it(service: Service) -> None:
    path, key = create(service, 1), service.key(Role.ADMIN)
    for ask in (service.client.get, service.client.delete):
        assert code_of(ask(path, headers=key | TUS)) == (404, "upload_not_found")
    assert code_of(send(service, path, b"1", 0, PART | key)) == (404, "upload_not_found")
    query = {"upload": path.rpartition("/")[2]}
    service.client.post("/v1/datasets", json={"name": "products"})
    answer = service.client.post(f"{PRODUCTS}/imports", params=query, headers=key)
    assert code_of(answer) == (404, "upload_not_found")
    assert service.client.get(path).json()["offset"] == 0


@EMBEDDED
def test_a_key_may_have_so_many_uploads_of_such_a_length(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_UPLOADS", 2)
    with running(settings_of(home, max_upload_bytes=10)) as service:
        first, _ = create(service, 10), create(service, 10)
        for length, refusal in ((11, (413, "body_too_large")), (1, (409, "too_many_uploads"))):
            headers = TUS | {"Upload-Length": f"{length}"}
            with service.untouched():
                answer = service.client.post("/v1/uploads", headers=headers)
                assert code_of(answer) == refusal
        other = TUS | {"Upload-Length": "1"} | service.key(Role.CONTRIBUTOR)
        assert service.client.post("/v1/uploads", headers=other).status_code == 201
        service.client.delete(first, headers=TUS)
        create(service, 1)


@EMBEDDED
def test_an_upload_expires_and_is_forgotten_later(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "KEPT", timedelta(0))
    path, now = create(service, 1), service.platform.clock()
    for hours, found in ((0, (410, "upload_expired")), (23, (410, "upload_expired"))):
        delete_expired(replace(service.platform, clock=lambda h=hours: now + timedelta(hours=h)))  # type: ignore[misc]
        assert code_of(service.client.get(path)) == found
        assert code_of(send(service, path, b"1", 0)) == found
    delete_expired(replace(service.platform, clock=lambda: now + timedelta(hours=25)))
    assert code_of(service.client.get(path)) == (404, "upload_not_found")


@EMBEDDED
def test_an_upload_goes_on_wherever_its_connection_broke(home: Path) -> None:
    choice, data = Random(3), tarred({"boot/1.bin": Random(4).randbytes(7 * AT_ONCE)})
    with serving(settings_of(home)) as served:
        client, address = served.client, urlsplit(served.url)
        client.datasets.create("products")
        length = TUS | {"Upload-Length": f"{len(data)}"}
        path, offset = client.request("POST", "/v1/uploads", headers=length).headers["Location"], 0
        for _ in range(4):
            sent = data[offset : offset + choice.randint(AT_ONCE, AT_ONCE + 300_000)]
            head = [
                f"PATCH {path} HTTP/1.1",
                f"Host: {address.netloc}",
                f"Authorization: Bearer {KEY}",
                f"Upload-Offset: {offset}",
                f"Content-Length: {len(data) - offset}",
                *(f"{name}: {value}" for name, value in PART.items()),
            ]
            with socket.create_connection((address.hostname or "", address.port or 0)) as raw:
                raw.sendall("\r\n".join([*head, "", ""]).encode() + sent)
                wait_for(lambda: _is_being_written(home), seconds=60, every=0.01)
            before = offset
            offset = wait_for(
                lambda: _offset(client, path, above=before),  # noqa: B023
                seconds=60,
                every=0.01,
            )
            assert before < offset <= before + len(sent)
        headers = PART | {"Upload-Offset": f"{offset}"}
        client.request("PATCH", path, content=data[offset:], headers=headers)
        order = f"{PRODUCTS}/imports?upload={path.rpartition('/')[2]}"
        assert client.request("POST", order).json()["images"]["archive"] == sha256(data)


def _is_being_written(home: Path) -> bool:
    """Return whether a part of which the first bytes have come is on the disk."""
    with suppress(FileNotFoundError):
        return any(path.stat().st_size >= AT_ONCE for path in home.glob("artifacts/00/.new-*"))
    return False


def _offset(client: Any, path: str, above: int) -> int | None:
    found = int(client.request("HEAD", path).headers["Upload-Offset"])
    return found if found > above else None
