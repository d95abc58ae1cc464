"""`perennial advise` against a service behind a port."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import main
from core.domain.datasets.split import Side
from perennial import ImageFile
from tests.support.api.image_files import pictures_on
from tests.support.api.oracle import an_oracle
from tests.support.api.seeds import a_root
from tests.support.api.served import Served, serving
from tests.support.api.service import EMBEDDED, KEY, settings_of


@pytest.fixture
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service with the model `demo` and two versions of the dataset `products`."""
    monkeypatch.setenv("PERENNIAL_HOME", str(home))
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    images = [
        (("boot", "bag")[n % 2], ImageFile(file_name=f"{n}.png", data=data))
        for n, data in enumerate(pictures_on(Side.TRAIN, 6))
    ]
    with serving(settings_of(home)) as found:
        a_root(found.platform)
        found.client.datasets.create("products")
        for part in (images[:4], images[4:]):
            found.client.datasets.upload("products", part)
            found.client.datasets.freeze("products")
        yield found


def rows(printed: str) -> list[list[str]]:
    """The cells of the tables, line by line."""
    lines = (line for line in printed.splitlines() if line.startswith("│"))
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@EMBEDDED
def test_the_newest_version_is_advised_on(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["advise", "demo", "products", "--url", served.url]
    assert main([*command, "--recipe", '{"epochs": 3}']) == 0
    table = rows(capsys.readouterr().out)
    assert ["bag", "3", "0", "0", ""] in table
    assert ["boot", "3", "0", "0", ""] in table
    [duration] = [row for row in table if row[1] == "duration_unknown"]
    assert (duration[0], duration[2][:24]) == ("info", "Training takes 3 steps. ")
    assert not list(served.client.jobs.list(model="demo", job_type="update"))
    assert main([*command, "--dataset-version", "1"]) == 0
    assert ["bag", "2", "0", "0", ""] in rows(capsys.readouterr().out)


@EMBEDDED
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["demo", "nope"], "There is no such dataset."),
        (["demo", "empty"], "The dataset empty has no version: freeze it first."),
        (["nope", "products"], "There is no such model."),
        (["demo", "products", "--dataset-version", "0"], "dataset_version"),
        (["demo", "products", "--recipe", '{"epochs": 0}'], "epochs must be"),
    ],
)
def test_an_order_that_could_not_start_is_explained(
    served: Served, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    served.client.datasets.create("empty")
    assert main(["advise", *words, "--url", served.url]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("recipe", "told"), [("{", "not JSON"), ("[]", "not a JSON object")])
def test_a_recipe_must_be_an_object(
    recipe: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["advise", "demo", "products", "--recipe", recipe])
    assert told in capsys.readouterr().err


@EMBEDDED
def test_a_key_and_a_service_are_needed(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with an_oracle() as other:
        for url in ("http://127.0.0.1:1", "http://[", other.url):
            assert main(["advise", "demo", "products", "--url", url]) == 1
            assert f"No service answers at {url}: " in capsys.readouterr().err
    monkeypatch.setenv("PERENNIAL_ADMIN_KEY", "")
    assert main(["advise", "demo", "products", "--url", served.url]) == 1
    assert "Set PERENNIAL_ADMIN_KEY" in capsys.readouterr().err
