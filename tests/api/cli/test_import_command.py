"""`perennial import` against a service behind a port."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import import_command
from cli.main import main
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture
from tests.support.api.imports import importing_worker
from tests.support.api.served import Served, serving
from tests.support.api.service import EMBEDDED, KEY, settings_of

pytestmark = EMBEDDED


@pytest.fixture
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service with an empty dataset `products`."""
    monkeypatch.setenv("PERENNIAL_HOME", str(home))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(settings_of(home)) as found:
        found.client.datasets.create("products")
        yield found


@pytest.fixture
def works(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker runs a job whenever the command waits for one."""
    with importing_worker(served.platform) as work:
        monkeypatch.setattr(import_command, "POLL_S", 0.0)
        pause: Callable[[float], object] = lambda _: work()  # noqa: E731
        monkeypatch.setattr(import_command.time, "sleep", pause)
        yield


@pytest.mark.usefixtures("works")
def test_a_folder_is_imported_and_what_is_refused_is_named(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "boot").mkdir(parents=True)
    (tmp_path / "in" / "boot" / "1.png").write_bytes(picture(1))
    (tmp_path / "in" / "boot" / "2.png").write_bytes(b"no image")
    table = tmp_path / "report.csv"
    command = ["import", "products", str(tmp_path / "in"), "--url", served.url]
    assert main([*command, "--validate-only"]) == 0
    assert served.client.datasets.get("products")["images"] == 0
    assert main([*command, "--report", str(table)]) == 0
    said = capsys.readouterr()
    assert said.out == "1 created, 0 duplicate, 0 label_conflict, 1 rejected\n" * 2
    assert "boot/2.png: Images must be" in said.err
    assert served.client.datasets.get("products")["counts"] == {"boot": 1}
    assert [line.split(",")[0] for line in table.read_text().splitlines()[1:]] == [
        "boot/1.png",
        "boot/2.png",
    ]


@pytest.mark.usefixtures("works")
def test_what_cannot_be_imported_is_an_error(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "a.zip"
    damaged.write_bytes(zipped({"boot/1.png": picture(1)})[:-9])
    unsafe = tmp_path / "b.zip"
    unsafe.write_bytes(zipped({"boot/a.zip": zipped({})}))
    for source, words in (
        (damaged, "damaged or truncated"),
        (unsafe, "boot/a.zip: An archive or a compressed file"),
        (tmp_path / "no.zip", "cannot be read"),
        ("s3://photos/shoes", "Imports may not read the bucket 'photos'"),
        (Path(__file__), "must be a zip"),
    ):
        assert main(["import", "products", str(source), "--url", served.url]) == 1
        assert words in capsys.readouterr().err
