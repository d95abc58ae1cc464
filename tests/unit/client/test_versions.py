"""Versions, their reports, and downloads that go on where they stopped."""

import tarfile
import uuid
from pathlib import Path

import pytest

from core.gate.rules import Verdict
from perennial.errors import ServiceError
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.served import Served
from tests.support.evaluation.evaluations import report_of, second_update


@pytest.fixture
def model(served: Served) -> str:
    """A model of the test's own with two versions; the second has a report."""
    made = a_root(served.platform, f"m-{uuid.uuid4().hex}")
    report = report_of(second_update(), lambda *_: True)
    a_candidate(served.platform, made, verdict=Verdict.PASSED, report=report)
    return made.name


def test_versions_are_listed_oldest_first(served: Served, model: str) -> None:
    versions = list(served.client.versions.list(model))
    assert [version["version"] for version in versions] == [1, 2]
    assert versions[1] == served.client.versions.get(model, 2)


def test_a_report_is_read_and_shown_as_a_page(served: Served, model: str) -> None:
    report = served.client.versions.report(model, 2)
    assert report["measures"][0]["outcome"] in {"holds", "fails", "open", "advisory"}
    assert served.client.versions.report_page(model, 2).startswith("<!doctype html>")
    with pytest.raises(ServiceError, match="404 report_not_found"):
        served.client.versions.report(model, 1)


def test_a_reply_of_not_modified_is_returned(served: Served, model: str) -> None:
    path = f"/v1/models/{model}/versions/1/download"
    tag = served.client.request("GET", path).headers["ETag"]
    answer = served.client.request("GET", path, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")


def whole(served: Served, model: str) -> bytes:
    return served.client.request("GET", f"/v1/models/{model}/versions/1/download").content


def test_a_download_is_a_tar_file(served: Served, model: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = served.client.versions.download(
        model, 1, to=tmp_path / "one.tar", on_bytes=lambda there, total: seen.append((there, total))
    )
    with tarfile.open(path) as tar:
        assert f"{model}-1/open_clip_config.json" in tar.getnames()
    size = path.stat().st_size
    assert seen[-1] == (size, size)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("arrived", [1, 2, 1000, -1, None])
def test_an_interrupted_download_goes_on(
    served: Served, model: str, tmp_path: Path, arrived: int | None
) -> None:
    data, first = whole(served, model), []

    def interrupt(there: int, total: int) -> None:
        first.append(there)
        raise KeyboardInterrupt

    to = tmp_path / "one.tar"
    with pytest.raises(KeyboardInterrupt):
        served.client.versions.download(model, 1, to=to, on_bytes=interrupt)
    (part,) = tmp_path.iterdir()
    part.write_bytes(data[:arrived])

    seen: list[int] = []
    served.client.versions.download(model, 1, to=to, on_bytes=lambda there, _: seen.append(there))
    assert to.read_bytes() == data
    assert list(tmp_path.iterdir()) == [to]


def test_only_the_missing_bytes_are_sent(served: Served, model: str, tmp_path: Path) -> None:
    data = whole(served, model)
    digest = served.client.versions.get(model, 1)["digest"]
    marked = b"\0" * 1000  # not what the service has: it stays if it is not sent again
    (tmp_path / f"one.tar.{digest[:16]}.part").write_bytes(marked)
    to = served.client.versions.download(model, 1, to=tmp_path / "one.tar")
    assert to.read_bytes() == marked[:-1] + data[999:]


def test_bytes_of_another_version_are_not_gone_on_with(
    served: Served, model: str, tmp_path: Path
) -> None:
    (tmp_path / "one.tar.0123456789abcdef.part").write_bytes(b"another version's")
    to = served.client.versions.download(model, 1, to=tmp_path / "one.tar")
    assert to.read_bytes() == whole(served, model)
