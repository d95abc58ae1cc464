"""Embeddings, classes and trials of a model that has learned two classes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.responses import JSONResponse, Response

from core.gate.rules import Verdict
from core.registry.rows import Models
from core.trials.record import Batch, ShadowAnswer, record_predictions
from core.trials.rules import Shadowed, TrialMode
from perennial.client import Client
from perennial.commands import inference as embed
from perennial.resources.serving import Trials
from perennial.terminal.session import ERROR, KEY, URL, USAGE
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate, a_sample
from tests.support.factories import a_prediction
from tests.support.servers.scripted import scripted
from tests.unit.client.commands.conftest import Run, Site, rows


@pytest.fixture(scope="module")
def taught(site: Site) -> int:
    """The number of the version that is live; its parent is the root."""
    with site.platform.transactions(read_only=True) as work:
        model = work[Models].get("demo")
    version = a_candidate(site.platform, model, verdict=Verdict.PASSED, teaches=("bag", "boot"))
    site.client.aliases.promote("demo", version.number, override=True, reason="for these tests")
    return version.number


def test_images_are_embedded_into_an_array_of_one_version(
    site: Site, perennial: Run, taught: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "AT_ONCE", 2)  # of the images of a request
    ask, expected = Client.embed, []

    def watched(client: Client, reference: str, **asked: Any) -> Any:
        expected.append(asked["expect_digest"])
        return ask(client, reference, **asked)

    monkeypatch.setattr(Client, "embed", watched)
    images = [tmp_path / f"{n}.png" for n in range(3)]
    for n, path in enumerate(images):
        path.write_bytes(picture(n))
    found = tmp_path / "vectors.npy"
    ended = perennial("embed", "demo", *images, "--output", found)
    assert f"demo: version {taught}, digest " in ended.out
    answer = ask(site.client, "demo", images=images)
    assert expected == [None, answer["digest"]]
    wanted = np.array([row["embedding"] for row in answer["data"]], dtype="<f4")
    np.testing.assert_array_equal(np.load(found), wanted, strict=True)
    other = perennial("embed", "demo", *images, "--expect-digest", "0" * 64)
    assert (other.code, other.out) == (ERROR, "")


def test_an_array_is_not_written_without_an_image(
    perennial: Run, taught: int, tmp_path: Path
) -> None:
    good, bad, found = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "vectors.npy"
    good.write_bytes(picture(1))
    bad.write_bytes(b"no image")
    ended = perennial("embed", "demo", good, bad, "--output", found)
    assert (ended.code, found.exists()) == (ERROR, False)
    assert "b.png: Images must be" in ended.err
    lines = perennial("embed", "demo", good, bad, "--json").out.splitlines()
    assert [json.loads(line)["embedding"] is None for line in lines] == [False, True]
    for wrong in ((), (good, "--text", "a boot")):
        assert perennial("embed", "demo", *wrong).code == USAGE


def test_images_are_classified(perennial: Run, taught: int, tmp_path: Path) -> None:
    for name, data in (("a.png", picture(1)), ("b.png", b"no image")):
        (tmp_path / name).write_bytes(data)
    images = (tmp_path / "a.png", tmp_path / "b.png")
    ended = perennial("classify", "demo", *images, "-c", "cat", "-c", "dog")
    assert [str(tmp_path / "a.png"), "cat", "50.0"] in rows(ended.out, 3)
    assert f"demo: version {taught}\n" in ended.out
    assert "b.png: Images must be" in ended.err
    refused = perennial("classify", "demo:1", images[0], "-c", "cat", "--none-of-these", "0.1")
    assert (refused.code, "teach the model" in refused.err) == (ERROR, True), refused.err


def test_a_version_is_tried_beside_the_live_one(
    perennial: Run, site: Site, taught: int, tmp_path: Path
) -> None:
    was_live = site.client.aliases.get("demo")["version"] == taught
    if was_live:
        perennial("rollback", "demo", "--to", "1", "--reason", "a root is no canary")
    assert perennial("trial", "start", "demo", str(taught)).code == USAGE
    canary = ("trial", "start", f"demo:{taught}", "--canary", "0.5", "--reason", "try it")
    started = perennial(*canary)
    assert f"demo@production: version {taught} as a canary of 50 % beside 1" in started.out
    image = tmp_path / "boot.png"
    image.write_bytes(picture(1))
    answered = json.loads(perennial("classify", "demo", str(image), "-c", "boot", "--json").out)
    (row,) = answered["data"]
    assert row["file"] == str(image)
    labels = tmp_path / "labels.csv"
    labels.write_text(f"{row['prediction']},boot\npred_0,boot\n")
    sent = perennial("trial", "label", str(labels))
    assert sent.out == "1 counted, 0 waiting, 0 repeated, 1 refused.\n"
    assert "pred_0: prediction_not_found" in sent.err
    labels.write_text("no prediction\n")
    assert perennial("trial", "label", str(labels)).code == USAGE
    assert "undecided, without labels of both" in perennial("trial", "show", "demo").out
    assert perennial("trial", "stop", "demo", "--reason", "enough").code == 0
    (listed,) = rows(perennial("trial", "list", "demo").out, 5)
    assert listed[-1] == "stopped"
    if was_live:
        assert perennial("promote", f"demo:{taught}", "--reason", "it was live").code == 0


def test_samples_of_a_trial_are_listed_saved_and_deleted(
    perennial: Run, site: Site, taught: int, tmp_path: Path
) -> None:
    live = site.client.aliases.get("demo")["version"]
    other = 1 if live == taught else taught
    a_sample(site.platform, site.client.trials.start("demo", other, mode="shadow")["id"])
    (line,) = perennial("trial", "samples", "demo", "--json").out.splitlines()
    pixels = json.loads(line)["pixels"]
    assert rows(perennial("trial", "samples", "demo").out, 3) == [[pixels, "boot", "bag"]]
    folder = tmp_path / "samples"
    saved = perennial("trial", "samples", "demo", "--output", folder)
    assert f"{folder}: 1 images.\n" == saved.err
    (file,) = folder.iterdir()
    assert (file.name, file.read_bytes()) == (f"{pixels}.webp", b"RIFF")
    assert perennial("trial", "samples", "demo", "--trial", "trial_0").code == ERROR
    assert perennial("trial", "samples", "demo", "--output", file).code == USAGE

    assert perennial("trial", "delete-samples", "demo").code == ERROR  # nobody says yes
    assert len(list(site.client.trials.samples("demo"))) == 1
    assert perennial("trial", "delete-samples", "demo", "--yes").code == 0
    assert perennial("trial", "samples", "demo", "--json").out == ""
    assert perennial("trial", "stop", "demo").code == 0


def test_disagreements_are_written_to_a_file_that_is_sent_back_with_labels(
    perennial: Run, site: Site, taught: int, tmp_path: Path
) -> None:
    live = site.client.aliases.get("demo")["version"]
    trial = site.client.trials.start("demo", 1 if live == taught else taught, mode="shadow")["id"]
    made = [
        a_prediction(id=f"pred_label_{number}", trial=trial, mode=TrialMode.SHADOW, answer="boot")
        for number in range(5)
    ]
    says = [ShadowAnswer(outcome=Shadowed.ANSWERED, answer=word) for word in ("bag", "boot")]
    shadows = {one.id: says[number == 4] for number, one in enumerate(made)}
    record_predictions(site.platform, Batch(predictions=made, shadows=shadows))
    assert "undecided without a labelled disagreement" in perennial("trial", "show", "demo").out
    listed = [row[0] for row in rows(perennial("trial", "to-label", "demo").out, 4)]
    assert set(listed) == {one.id for one in made[:4]}
    file = tmp_path / "labels.csv"
    written = perennial("trial", "to-label", "demo", "--limit", "3", "--output", file)
    assert written.err == f"{file}: 3 disagreements.\n"
    assert perennial("trial", "to-label", "demo", "--output", file).code == ERROR  # it stays
    assert perennial("trial", "label", file).code == USAGE  # it has no label yet
    header, *lines = file.read_text().splitlines()
    assert [line.split(",")[:4] for line in lines] == [[x, "", "boot", "bag"] for x in listed[:3]]
    answered = [lines[0].replace(",,", ",bag,", 1), lines[1].replace(",,", ",hat,", 1)]
    file.write_text("\n".join([header, *answered, lines[2]]))
    sent = perennial("trial", "label", file)
    assert sent.out == "2 counted, 0 waiting, 0 repeated, 0 refused.\n"
    shown = perennial("trial", "show", "demo").out
    assert "Of 2 labelled disagreements the candidate alone was right in 1" in shown
    assert rows(shown, 5)[1][3] == "1 of 2"
    left = perennial("trial", "to-label", "demo", "--json").out.splitlines()
    assert [json.loads(line)["prediction"] for line in left] == listed[2:]
    assert perennial("trial", "stop", "demo").code == 0
    assert perennial("trial", "to-label", "demo").code == ERROR


def test_samples_are_saved_of_one_trial_also_if_another_one_begins_meanwhile(
    perennial: Run, site: Site, taught: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, live = site.client.trials, site.client.aliases.get("demo")["version"]
    other = 1 if live == taught else taught
    first = trials.start("demo", other, mode="shadow")
    a_sample(site.platform, first["id"])
    list_samples = Trials.samples

    def then_another_begins(self: Trials, model: str, *rest: Any, **named: Any) -> list[Any]:
        found = list(list_samples(self, model, *rest, **named))
        trials.stop(model)
        trials.start(model, other, mode="shadow")
        return found

    monkeypatch.setattr(Trials, "samples", then_another_begins)
    assert perennial("trial", "samples", "demo", "--output", tmp_path / "samples").code == 0
    (saved,) = (tmp_path / "samples").iterdir()
    assert saved.read_bytes() == b"RIFF"
    assert perennial("trial", "stop", "demo").code == 0


IMAGE, PIXELS = b"RIFF", "a" * 64

SAMPLE = {"prediction": "pred_1", "current": "boot", "candidate": "bag", "at": "2026-01-01T00:00"}

Save = Callable[[str], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that samples are saved in."""
    folder = tmp_path / "place" / "samples"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def save(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Save:
    """Save the one sample of a service, by what it says are the pixels."""

    def saved(pixels: str) -> None:
        with scripted() as script:
            script.replies = [
                JSONResponse({"id": "trial_1"}),
                JSONResponse({"data": [{"pixels": pixels, **SAMPLE}], "has_more": False}),
                Response(IMAGE),
            ]
            monkeypatch.setenv(URL, script.url)
            monkeypatch.setenv(KEY, "pk_any")
            ended = run("trial", "samples", "demo", "--output", folder)
        assert ended.code == 0, ended.err

    return saved


@pytest.mark.parametrize("name", ["../outside", "{place}/outside", "deeper/../../outside"])
def test_a_name_does_not_lead_out_of_the_folder(save: Save, folder: Path, name: str) -> None:
    save(name.format(place=folder.parent))
    (file,) = (path for path in folder.parent.rglob("*") if path.is_file())
    assert file == folder / "outside.webp"
    assert file.read_bytes() == IMAGE


@pytest.mark.parametrize("link", [f"{PIXELS}.webp", f"{PIXELS}.part"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_does_not_lead_out_of_the_folder(
    save: Save, folder: Path, link: str, exists: bool
) -> None:
    outside = folder.parent / "outside"
    if exists:
        outside.write_bytes(b"mine")
    (folder / link).symlink_to(outside)
    save(PIXELS)
    assert outside.exists() == exists
    assert not exists or outside.read_bytes() == b"mine"
    saved = folder / f"{PIXELS}.webp"
    assert saved.read_bytes() == (b"mine" if exists and link == saved.name else IMAGE)
