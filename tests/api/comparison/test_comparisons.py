"""Comparisons of versions over HTTP: flips, differences, blame."""

import csv
import io
import re

import pytest

from core.datasets.rules import DatasetKind
from core.jobs.rules import JobStatus
from core.principal import Role
from core.registry.versions import Model
from tests.support.api.browsing import browser_of
from tests.support.api.seeds import a_candidate
from tests.support.api.service import EMBEDDED, Service, code_of
from tests.support.evaluation.each_class import knowing_each
from tests.support.scene import Scene

DEMO = "/v1/models/demo"

FLIPS = f"{DEMO}/versions/2/flips"

FORMULA = "=1+1"

pytestmark = EMBEDDED  # tests/contract/comparison/test_comparisons.py reads both databases


@pytest.fixture
def model(service: Service, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The model `demo`, whose second version lost hats, gained bags and learned two classes.

    It is asked about captions, too.
    """
    scene = Scene(service.platform.transactions, service.platform.artifacts)
    made = scene.model()
    scene.suite(made, scene.frozen("hat", "bag", each=6, offset=500), name="easy")
    told = scene.frozen("hat", "a shoe", each=1, offset=600, kind=DatasetKind.CAPTIONED)
    scene.suite(made, told, name="told")
    knowing_each(scene, made, monkeypatch, {1: ("hat",), 2: ("bag", FORMULA, "cat")})
    scene.update(made, scene.frozen(FORMULA, "cat", offset=40), auto_promote=False)
    assert scene.run().status is JobStatus.SUCCEEDED
    return made


def test_flips_are_paged_and_filtered(service: Service, model: Model) -> None:
    client = service.client
    whole = client.get(FLIPS).json()
    flips = whole["data"]
    assert ([whole["before"]["version"], whole["now"]["version"]], whole["next"]) == ([1, 2], None)
    assert (whole["has_more"], len(flips) > 4) == (False, True)
    lost = next(flip for flip in flips if flip["kind"] == "lost")
    assert lost == {
        "kind": "lost",
        "suite": "easy",
        "pixels": lost["pixels"],
        "class": "hat",
        "before": "hat",
        "now": "bag",
        "before_probability": 0.9,
        "now_probability": 0.6,
        "caption": None,
        "rank_before": None,
        "rank_now": None,
    }
    page = client.get(FLIPS, params={"limit": 2}).json()
    rest = client.get(FLIPS, params={"limit": 200, "after": page["next"]}).json()
    assert (page["has_more"], page["data"] + rest["data"]) == (True, flips)
    for params, kept in (
        ({"kind": "gained"}, lambda flip: flip["kind"] == "gained"),
        ({"suite": "version 2"}, lambda flip: flip["suite"] == "version 2"),
        ({"class": "HAT"}, lambda flip: flip["class"] == "hat"),
        ({"against": "root", "kind": "lost"}, lambda flip: flip["kind"] == "lost"),
    ):
        found = client.get(FLIPS, params=params).json()["data"]
        assert found == [flip for flip in flips if kept(flip)]
        assert 0 < len(found) < len(flips)


def test_images_and_captions_that_fell_from_the_first_place_are_listed(
    service: Service, model: Model
) -> None:
    client = service.client
    told = client.get(FLIPS, params={"suite": "told"}).json()["data"]
    fell = [(one["kind"], one["caption"], one["rank_before"], one["rank_now"]) for one in told]
    assert fell == [("lost", None, 0, 2), ("lost", "hat", 0, 2)] * 2  # of the two images of hats
    paged, after = [], {}
    while after is not None:
        page = client.get(FLIPS, params={"suite": "told", "limit": 1, **after}).json()
        paged += page["data"]
        after = {"after": page["next"]} if page["next"] else None
    assert paged == told
    assert client.get(f"{DEMO}/compare?versions=1,2").json()["fallen"] == told
    where = "/ui/models/demo/changes/images?before=1&now=2&suite=told"
    page = browser_of(service, Role.VIEWER).get(where).text
    assert page.count("rank of its own caption: 1 → 3") == 2
    assert len(re.findall(r"<b>\W*hat\W*</b>\s*<small>rank of its own image: 1 → 3", page)) == 2
    for wrong in ("told", "told:ab", "told:ab:-1", "told:ab:²"):
        refused = client.get(FLIPS, params={"after": wrong})
        assert code_of(refused) == (422, "field_invalid"), wrong


def test_a_comparison_as_json_and_as_csv(service: Service, model: Model) -> None:
    path = f"{DEMO}/compare?versions=1,2"
    answer = service.client.get(path)
    found = answer.json()
    assert answer.headers["vary"].split(", ")[0] == "Accept"
    assert (found["before"]["version"], found["now"]["version"]) == (1, 2)
    listed = service.client.get(found["links"]["flips"]).json()["data"]
    flips = [(flip["suite"], flip["kind"]) for flip in listed]
    kinds = [kind for _, kind in flips]
    assert (found["lost"], found["gained"]) == (kinds.count("lost"), kinds.count("gained"))
    cells = next(table["cells"] for table in found["confusions"] if table["name"] == "easy")
    assert {(cell["class"], cell["predicted"]): cell["change"] for cell in cells} == {
        ("hat", "bag"): flips.count(("easy", "lost")),
        ("bag", "hat"): -flips.count(("easy", "gained")),
    }
    as_csv = service.client.get(path, headers={"Accept": "text/csv"})
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(as_csv.text)))
    measures = [row for row in rows if row["row"] == "measure"]
    assert [(row["name"], int(row["lost"])) for row in measures] == [
        (measure["name"], measure["lost"]) for measure in found["measures"]
    ]
    assert {row["class"] for row in rows} == {"", "hat", "bag", "cat", f"'{FORMULA}"}
    refused = service.client.get(path, headers={"Accept": "text/html"})
    assert code_of(refused) == (406, "not_acceptable")


def test_blame_names_the_update_after_which_a_class_fell(service: Service, model: Model) -> None:
    path = f"{DEMO}/blame?class=hat&version=2"
    found = service.client.get(path).json()
    (curve,) = found["curves"]
    assert (found["class"], found["version"], curve["name"]) == ("hat", 2, "easy")
    assert [score["accuracy"] for score in curve["scores"]] == [1.0, 0.0]
    assert found["fell"] == found["steps"][0]
    assert (found["fell"]["version"], found["fell"]["clear"]) == (2, True)
    live = service.client.get(f"{DEMO}/blame?class=hat").json()
    assert (live["version"], live["fell"]) == (1, None)


def test_a_report_as_csv_and_as_svg(service: Service, model: Model) -> None:
    path = f"{DEMO}/versions/2/forgetting"
    table = service.client.get(path, headers={"Accept": "text/csv"})
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(table.text)))
    report = service.client.get(path).json()
    assert len([row for row in rows if row["row"] == "measure"]) == len(report["measures"])
    assert f"'{FORMULA}" in {row["class"] for row in rows}
    plots = service.client.get(path, headers={"Accept": "image/svg+xml"})
    assert plots.headers["content-type"] == "image/svg+xml"
    assert plots.headers["content-security-policy"].startswith("default-src 'none'; style-src")
    assert plots.text.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert {each.headers["vary"].split(", ")[0] for each in (table, plots)} == {"Accept"}


def test_what_cannot_be_compared(service: Service, model: Model) -> None:
    a_candidate(service.platform, model)
    wanted = {
        f"{DEMO}/versions/1/flips": (404, "version_not_found"),
        f"{DEMO}/versions/3/flips": (409, "answers_missing"),
        f"{FLIPS}?against=2": (422, "field_invalid"),
        f"{DEMO}/compare?versions=1,3": (409, "answers_missing"),
        f"{DEMO}/compare?versions=1,2,3": (422, "field_invalid"),
        "/v1/models/nobody/compare?versions=1,2": (404, "model_not_found"),
        f"{DEMO}/blame?class=owl": (404, "class_not_found"),
    }
    assert {path: code_of(service.client.get(path)) for path in wanted} == wanted
