"""Images as forms: a receipt a file, caps, the quota of what is stored, nothing left behind."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Message

from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from tests.support.api import image_files as pictures
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture, pictures_on
from tests.support.api.imports import PRODUCTS, importing
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, KEY, Service, code_of, running, settings_of

BOUNDARY = "frontier"


@pytest.fixture
def products(service: Service) -> str:
    service.client.post("/v1/datasets", json={"name": "products"})
    return "/v1/datasets/products/images"


def part(name: str, data: bytes, file_name: str = "a.png") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"'
    return head.encode() + b"\r\n\r\n" + data + b"\r\n"


def send(service: Service, path: str, body: Iterator[bytes] | bytes) -> object:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return service.client.post(path, content=body, headers={"Content-Type": kind})


def test_each_file_gets_a_receipt_and_a_bad_one_stops_no_other(
    service: Service, products: str
) -> None:
    answer = service.client.post(
        products,
        files=[
            ("boot", ("1.png", picture(1))),
            ("boot", ("2.tiff", pictures.tiff())),
            ("boot", ("3.jpg", pictures.truncated())),
            ("boot", ("4.png", pictures.huge())),
            ("\u200b", ("5.png", picture(5))),
            ("boot", ("6.png", picture(1))),
            ("bag", ("7.png", picture(1))),
            ("bag", ("8.webp", picture(8, file_format="WEBP"))),
            ("bag", ("9.gif", pictures.frames("GIF"))),
        ],
    )
    assert answer.status_code == 200
    told = [
        (row["file"], row["outcome"], (row["error"] or {}).get("code"))
        for row in answer.json()["data"]
    ]
    assert told == [
        ("1.png", "created", None),
        ("2.tiff", "rejected", "unsupported_image"),
        ("3.jpg", "rejected", "image_corrupt"),
        ("4.png", "rejected", "image_too_large"),
        ("5.png", "rejected", "class_invalid"),
        ("6.png", "duplicate", None),
        ("7.png", "label_conflict", "label_conflict"),
        ("8.webp", "created", None),
        ("9.gif", "rejected", "image_animated"),
    ]
    assert service.client.get("/v1/datasets/products").json()["counts"] == {"bag": 1, "boot": 1}
    assert len(list(service.platform.artifacts.digests())) == 2


def test_all_rejected_is_an_error_with_the_receipts(service: Service, products: str) -> None:
    files = [("boot", ("a.tiff", pictures.tiff())), (" ", ("c.png", picture(3)))]
    with service.untouched():
        answer = service.client.post(products, files=files)
    assert code_of(answer) == (422, "all_rejected")
    codes = [row["error"]["code"] for row in answer.json()["facts"]["files"]]
    assert codes == ["unsupported_image", "class_invalid"]


def test_odd_file_names_are_shown_cleaned(service: Service, products: str) -> None:
    body = part("boot", picture(1), "../../etc/passwd") + part("boot", picture(2), "n" * 5000)
    body += part("boot", picture(3), "a%0D%0Ab.png") + f"--{BOUNDARY}--\r\n".encode()
    rows = send(service, products, body).json()["data"]  # type: ignore[attr-defined]
    assert [row["file"] for row in rows] == ["passwd", "n" * 100, "ab.png"]
    assert {row["outcome"] for row in rows} == {"created"}


def test_a_body_over_the_cap_is_refused_before_it_has_ended(home: Path) -> None:
    with running(settings_of(home, max_body_bytes=50_000)) as service:
        service.client.post("/v1/datasets", json={"name": "products"})
        chunks = (part("boot", bytes(2000)) for _ in itertools.count())
        with service.untouched():
            assert service.client.portal is not None  # the loop that the service runs in
            status, read = service.client.portal.call(post_endlessly, service, chunks)
        assert status == 413
        assert read < 30


async def post_endlessly(service: Service, chunks: Iterator[bytes]) -> tuple[int, int]:
    """The status that a body without end is answered with, and how many chunks that took."""
    read, statuses = 0, []

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": next(chunks), "more_body": True}

    async def send(message: Message) -> None:
        statuses.append(message.get("status"))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/datasets/products/images",
        "query_string": b"",
        "headers": [
            (b"authorization", f"Bearer {KEY}".encode()),
            (b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode()),
        ],
    }
    await service.client.app(scope, receive, send)
    return statuses[0], read


def test_too_many_parts_are_refused(home: Path) -> None:
    with running(settings_of(home, max_parts=3)) as service:
        service.client.post("/v1/datasets", json={"name": "products"})
        files = [("boot", (f"{seed}.png", picture(seed))) for seed in range(4)]
        with service.untouched():
            answer = service.client.post("/v1/datasets/products/images", files=files)
        assert code_of(answer) == (413, "too_many_parts")


def test_a_file_over_its_cap_is_rejected_by_name(home: Path) -> None:
    with running(settings_of(home, max_file_bytes=2000)) as service:
        service.client.post("/v1/datasets", json={"name": "products"})
        files = [("boot", ("big.png", bytes(5000))), ("boot", ("small.png", picture(1)))]
        rows = service.client.post("/v1/datasets/products/images", files=files).json()["data"]
        assert [row["outcome"] for row in rows] == ["rejected", "created"]
        assert rows[0]["error"]["code"] == "file_too_large"


FORMS = [
    ("", b"x", 415, "unsupported_media_type"),
    ("application/json", b"x", 415, "unsupported_media_type"),
    ("multipart/form-data", b"x", 400, "malformed_multipart"),
    *(
        (f"multipart/form-data; boundary={BOUNDARY}", body, 400, "malformed_multipart")
        for body in (
            b"",
            b"no boundary in here",
            part("boot", b"never ends"),
            b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n--frontier--\r\n",
            b'--frontier\r\nContent-Disposition: form-data; name="\xff"; filename="a"\r\n\r\n'
            b"x\r\n--frontier--\r\n",
            b'--frontier\r\nContent-Disposition: form-data; name="boot"; filename="a"'
            + b";" * 500
            + b"\r\n\r\nx\r\n--frontier--\r\n",
        )
    ),
    (
        f"multipart/form-data; boundary={BOUNDARY}{';' * 500}",
        part("boot", b"x") + f"--{BOUNDARY}--\r\n".encode(),
        400,
        "malformed_multipart",
    ),
]


def test_a_form_without_a_boundary(service: Service, products: str) -> None:
    for kind, body, status, code in FORMS:
        with service.untouched():
            answer = service.client.post(products, content=body, headers={"Content-Type": kind})
        assert code_of(answer) == (status, code), (kind, body)


def test_what_arrived_before_a_broken_end_is_not_kept(service: Service, products: str) -> None:
    with service.untouched():
        answer = send(service, products, part("boot", picture(1)) + part("boot", picture(2))[:-40])
    assert code_of(answer) == (400, "malformed_multipart")


def test_text_fields_are_not_known_here(service: Service, products: str) -> None:
    with service.untouched():
        answer = service.client.post(
            products, files=[("boot", ("a.png", picture(1)))], data={"class": "boot"}
        )
    assert code_of(answer) == (422, "field_unknown")
    assert answer.json()["errors"][0]["pointer"] == "/class"


def test_no_room_on_the_disk(home: Path) -> None:
    with running(settings_of(home)) as service:
        service.client.post("/v1/datasets", json={"name": "products"})
    with running(settings_of(home, min_free_bytes=2**60)) as service, service.untouched():
        answer = service.client.post(
            "/v1/datasets/products/images", files=[("boot", ("a.png", picture(1)))]
        )
        assert code_of(answer) == (507, "storage_full")
        assert answer.headers["retry-after"]


def test_captions_are_texts_too(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "talk", "kind": "captioned"})
    files = [("a red boot", ("a.png", picture(1))), ("one boot", ("a.png", picture(1)))]
    files.append(("x" * 501, ("b.png", picture(2))))
    rows = service.client.post("/v1/datasets/talk/images", files=files).json()["data"]
    assert [row["outcome"] for row in rows] == ["created", "created", "rejected"]
    assert rows[2]["error"]["code"] == "caption_invalid"
    (image,) = service.client.get("/v1/datasets/talk/images").json()["data"]
    assert image["texts"] == ["a red boot", "one boot"]
    assert service.client.get("/v1/datasets/talk").json()["images"] == 1


def test_images_beyond_the_quota_are_refused_before_they_are_stored(home: Path) -> None:
    here, first = "/v1/datasets/products/images", ("boot", ("a.png", picture(1)))
    second = ("bag", ("b.png", picture(2)))
    with running(settings_of(home)) as service:
        a_root(service.platform)
        service.client.post("/v1/datasets", json={"name": "products"})
        service.client.post("/v1/datasets", json={"name": "others"})
        for path in (here, "/v1/datasets/others/images"):  # one image, however many hold it
            assert service.client.post(path, files=[first]).status_code == 200
        with service.platform.transactions(read_only=True) as work:
            quota = work[Datasets].stored_bytes() + 1
    assert quota > 1
    with running(settings_of(home, max_stored_bytes=quota)) as service:
        with service.untouched():
            refused = service.client.post(here, files=[second])
            assert code_of(refused) == (413, "quota_exceeded")
            facts = refused.json()["facts"]
            assert (facts["stored_bytes"], facts["quota_bytes"]) == (quota - 1, quota)
            assert facts["needed_bytes"] > 1
            images = enumerate(pictures_on(Side.TRAIN, 9)[3:])
            taught = [("ab"[n % 2], (f"{n}.png", image)) for n, image in images]
            refused = service.client.post("/v1/models/demo/classes", files=taught)
            assert code_of(refused) == (413, "quota_exceeded")
        assert service.client.post(here, files=[first, first]).status_code == 200
        for dataset in ("products", "others"):
            assert service.client.delete(f"/v1/datasets/{dataset}").status_code == 204
        service.client.post("/v1/datasets", json={"name": "products"})
        assert service.client.post(here, files=[second]).status_code == 200


@EMBEDDED
def test_an_import_beyond_the_quota_fails_and_changes_nothing(home: Path) -> None:
    with running(settings_of(home, max_stored_bytes=1)) as service, importing(service) as imports:
        job = imports.run(zipped({"boot/1.png": picture(1)}))
        assert (job["status"], job["error"]["code"]) == ("failed", "quota_exceeded")
        assert service.client.get(PRODUCTS).json()["counts"] == {}
