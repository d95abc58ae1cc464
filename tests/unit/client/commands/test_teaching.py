"""From folders of images to a live version, and what stands in the way."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.datasets.manifests import Side
from perennial.commands import learning as teach
from perennial.terminal.output import job_bar
from perennial.terminal.session import ERROR, GATE, JOB, KEY, USAGE
from tests.support.api.image_files import pictures_on
from tests.support.api.seeds import a_root, with_parameters
from tests.unit.client.commands.conftest import Run, Site

TEACH = ("--model", "demo", "--wait")


@pytest.fixture
def forgetful(site: Site) -> Iterator[None]:
    """A learner that forgets the earlier classes when it learns new ones."""
    site.learner.forgets = True
    yield
    site.learner.forgets = False


@pytest.fixture
def as_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of images is more than a form holds."""
    monkeypatch.setattr(teach, "FORM_IMAGES", 0)


def test_what_the_gate_passes_can_go_live(site: Site, perennial: Run, folder: Path) -> None:
    ended = perennial("teach", folder, *TEACH, "--fail-on-gate", "--no-promote")
    assert ended.code == 0, ended.err
    report = site.client.versions.report("demo", 2)
    learned, lost, go_live = (report["summary"][one] for one in ("learned", "lost", "go_live"))
    first = "\n".join([learned, lost, go_live, f"- {report['reasons'][0]}"])
    assert ended.out.startswith(f"demo: version 2, gate: passed\n{first}\n")
    assert ended.out.endswith(
        "demo@production stays where it is: the order leaves that to a person.\n"
        "To make it live: perennial promote demo:2\n"
    )
    assert "training ...\n" in ended.err
    assert site.client.versions.get("demo", 2)["update_classes"] == ["bag", "boot"]
    assert perennial("promote", "demo:2").out == "demo@production is version 2 (revision 2).\n"


@pytest.mark.usefixtures("forgetful")
def test_what_the_gate_fails_ends_with_its_own_code(
    site: Site, perennial: Run, folder: Path
) -> None:
    live = site.client.aliases.get("demo")
    ended = perennial("teach", folder, *TEACH, "--fail-on-gate", "--json")
    job = json.loads(ended.out)
    assert (ended.code, job["result"]["verdict"]) == (GATE, "failed")
    assert "The gate's verdict is 'failed'." in ended.err
    assert site.client.aliases.get("demo") == live
    assert perennial("watch", job["id"]).code == 0
    assert perennial("watch", job["id"], "--fail-on-gate").code == GATE
    refused = perennial("promote", "demo", job["result"]["version"], "--reason", "try")
    assert (refused.code, refused.out) == (GATE, "")
    assert "give a --reason, and --override where an override is required" in refused.err
    canary = ("trial", "start", "demo", job["result"]["version"], "--canary", "0.1")
    refused = perennial(*canary, "--reason", "try")
    assert (refused.code, refused.out) == (GATE, "")
    assert "`perennial report` says why." in refused.err
    assert "--override" not in refused.err  # which a canary does not take


@pytest.mark.usefixtures("as_archive")
def test_many_images_go_as_an_archive_and_the_refused_ones_are_named(
    site: Site, perennial: Run, folder: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(folder, tmp_path / "mine"))
    (mine / "bag" / "z.png").write_bytes(b"no image")
    ended = perennial("teach", mine, *TEACH, "--dataset", "mine")
    assert ended.code == 0, ended.err
    assert "bag/z.png: Images must be" in ended.err
    assert "Dataset mine, version 1: 22 images, 2 classes; " in ended.err
    assert site.client.datasets.get("mine")["counts"] == {"bag": 11, "boot": 11}


@pytest.mark.usefixtures("as_archive")
def test_an_interrupted_upload_can_go_on(
    site: Site, perennial: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("perennial.resources.uploads.Uploads._send_part", break_off)
        ended = perennial("teach", folder, *TEACH, "--dataset", "later")
    assert ended.code == 130
    upload = ended.err.split("--upload ")[1].split(".")[0]
    assert site.client.uploads.get(upload)["offset"] == 0
    again = (*TEACH, "--dataset", "later", "--upload", upload)
    (folder.parent / "other" / "bag").mkdir(parents=True)
    (folder.parent / "other" / "bag" / "1.png").write_bytes(b"")
    other = perennial("teach", folder.parent / "other", *again)
    assert (other.code, "is not what was sent first" in other.err) == (ERROR, True)
    assert perennial("teach", folder, *again).code == 0
    assert site.client.datasets.get("later")["images"] == 22


def test_a_model_has_a_default_recipe_that_is_shown_set_and_cleared(
    site: Site, perennial: Run, folder: Path
) -> None:
    a_root(site.platform, "large")
    with_parameters(site.platform, "large", 150_000_000)
    shown = perennial("model", "recipe", "large").out
    assert shown.startswith('base {"learning_rate": 1e-05, ')
    assert '{"learning_rate": 1e-05, ' in perennial("model", "show", "large").out
    harsh = ("teach", folder, "--model", "large", "--recipe", '{"learning_rate": 3e-4}')
    refused = perennial(*harsh)
    assert (refused.code, "or --force" in refused.err) == (ERROR, True)
    ended = perennial(*harsh, "--force", "--wait", "--json")
    assert json.loads(ended.out)["recipe"]["learning_rate"] == 3e-4
    assert perennial("model", "recipe", "large", "--set", '{"learning_rate": 3e-4}').code == ERROR
    own = perennial("model", "recipe", "large", "--set", '{"epochs": 2}', "--json")
    assert json.loads(own.out)["default_recipe"]["fields"]["epochs"] == 2
    assert perennial("model", "recipe", "large").out.startswith("own ")
    both = perennial("model", "recipe", "large", "--set", "{}", "--clear")
    assert (both.code, "--set or --clear" in both.err) == (USAGE, True)
    assert perennial("model", "recipe", "large", "--clear").out == shown


def test_an_order_goes_on_by_itself_and_can_be_watched(
    site: Site, perennial: Run, folder: Path
) -> None:
    ended = perennial("teach", folder, "--model", "demo", "--recipe", '{"epochs": 2}')
    assert (ended.code, ended.out[:9]) == (0, "Ordered: ")
    job = ended.out.split()[1].removesuffix(".")
    watched = perennial("watch", job, "--json")
    events = [json.loads(line) for line in watched.out.splitlines()]
    assert (events[0]["kind"], events[-1]["kind"]) == ("queued", "done")
    rest = perennial("watch", job, "--json", "--after", events[-2]["id"])
    assert [json.loads(line) for line in rest.out.splitlines()] == events[-1:]
    shown = json.loads(perennial("job", "show", job, "--json").out)
    assert (shown["status"], shown["recipe"]["epochs"]) == ("succeeded", 2)
    assert job in perennial("job", "list", "--model", "demo", "--limit", "1").out
    ended_updates = ("job", "list", "--type", "update", "--status", "succeeded")
    assert job in perennial(*ended_updates, "--created-since", "2020-01-01").out
    assert job not in perennial(*ended_updates, "--created-until", "2020-01-01").out


def test_who_follows_a_job_reads_why_its_result_is_not_exact(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with job_bar() as show:
        told = {"step": 2, "explanation": "The result is not exact."}
        show({"id": 1, "kind": "environment_changed", "data": told, "at": ""})
    assert "The result is not exact.\n" in capsys.readouterr().err


def test_a_job_that_fails_ends_with_its_own_code(
    site: Site, perennial: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no power")

    with monkeypatch.context() as broken:
        broken.setattr(site.learner, "training", fail)
        ended = perennial("teach", folder, *TEACH)
    assert (ended.code, ended.out) == (JOB, "")
    assert "failed" in ended.err
    job = ended.err.split("Job ")[1].split()[0]
    again = json.loads(perennial("job", "retry", job, "--json").out)
    assert again["retry_of"] == job
    assert perennial("watch", again["id"]).code == 0
    assert "already ended" in perennial("job", "cancel", job).err


def test_what_cannot_start_is_told_and_leaves_no_dataset(
    site: Site, perennial: Run, folder: Path, tmp_path: Path
) -> None:
    for words, code, told in (
        ((folder, "--model", "demo", "--fail-on-gate"), USAGE, "needs --wait"),
        ((folder, "--model", "demo", "--recipe", "{"), USAGE, "not JSON"),
        ((folder, "--model", "demo", "--recipe", "[]"), USAGE, "not a JSON object"),
        ((folder,), USAGE, "--model"),
        (("--model", "demo"), USAGE, "Give a FOLDER, or name a dataset"),
        ((folder, "--model", "demo", "--dataset", "pets:1"), USAGE, "either FOLDER or a version"),
        ((folder, "--model", "demo", "--parent", "other:1"), USAGE, "no version of demo"),
        ((folder, "--model", "dmo"), ERROR, "There is no such model. Did you mean demo?"),
        ((tmp_path / "no", "--model", "demo"), USAGE, "does not exist"),
        ((tmp_path, "--model", "demo"), ERROR, "holds no <class>/<image> files"),
        ((folder, "--model", "nope"), ERROR, "There is no such model."),
        ((folder, "--model", "demo", "--recipe", '{"epochs": 0}'), ERROR, "epochs must be"),
        ((folder, "--model", "demo", "--parent", "demo:99"), ERROR, "These exist: demo:1"),
        (("--model", "demo", "--dataset", "pts"), ERROR, "Did you mean pets?"),
        (("--model", "demo", "--dataset", "pets:9"), ERROR, "These exist: pets:1."),
        (("--model", "demo", "--dataset", "pets"), ERROR, "Suites contain 30 images"),
    ):
        before = [one["name"] for one in site.client.datasets.list()]
        ended = perennial("teach", *words)
        assert (ended.code, ended.out, told in ended.err) == (code, "", True), ended.err
        assert [one["name"] for one in site.client.datasets.list()] == before


def test_a_refused_teach_of_a_contributor_leaves_what_was_there_and_nothing_else(
    site: Site, perennial: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.client.datasets.create("kept")
    monkeypatch.setenv(
        KEY, site.client.keys.create("sender", "contributor", models=["demo"])["secret"]
    )
    teach_it = ("teach", folder, "--model", "demo")
    before = [one["name"] for one in site.client.datasets.list()]
    for options, told in (
        (("--recipe", '{"epochs": 0}'), "epochs must be"),
        (("--recipe", '{"epochs": 0}', "--dataset", "tried"), "epochs must be"),
        (("--alias", "nowhere"), "no such alias"),
        (("--parent", "demo:99"), "These exist: demo:1"),
        (("--prompt", "without a name"), "{name}"),
        (("--no-promote", "--recipe", '{"method": "zscl"}'), "requires a reference set"),
    ):
        for most in (1000, 0):  # images of a form: then as an archive
            monkeypatch.setattr(teach, "FORM_IMAGES", most)
            ended = perennial(*teach_it, *options)
            assert (ended.code, told in ended.err) == (ERROR, True), ended.err
            assert [one["name"] for one in site.client.datasets.list()] == before
    assert perennial(*teach_it, "--recipe", '{"epochs": 0}', "--dataset", "kept").code == ERROR
    assert site.client.datasets.get("kept")["images"] == 22
    assert list(site.client.datasets.versions("kept")) == []


def test_who_deletes_what_a_refused_teach_could_not_is_told(
    site: Site, perennial: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise httpx.ConnectError("no route")

    with monkeypatch.context() as broken:
        broken.setattr("perennial.resources.datasets.Datasets.delete", break_off)
        ended = perennial("teach", folder, *TEACH, "--alias", "nowhere", "--dataset", "tried")
    assert "The dataset tried stays (no route); `perennial dataset delete tried`" in ended.err
    site.client.datasets.delete("tried")


def test_a_dataset_that_is_there_is_taught(site: Site, perennial: Run, folder: Path) -> None:
    site.client.datasets.create("there")
    perennial("dataset", "upload", "there", folder)
    ended = perennial("teach", "--model", "demo", "--dataset", "there", "--json")
    assert json.loads(ended.out)["dataset_version"]["version"] == 1
    again = perennial("teach", "--model", "demo", "--dataset", "there:1", "--json")
    assert json.loads(again.out)["dataset_version"]["version"] == 1
    assert perennial("job", "watch", json.loads(again.out)["id"]).code == 0


def test_captions_are_uploaded_taught_and_named_in_lists_and_reports(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    a_root(site.platform, "told")
    sides = (*pictures_on(Side.TRAIN, 6), *pictures_on(Side.HOLDOUT, 6))
    lines = [{"path": f"{n}.png", "captions": [f"jar {n}", f"a jar, {n}"]} for n in range(12)]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for number, image in enumerate(sides):
        (tmp_path / f"{number}.png").write_bytes(image)
    site.client.datasets.create("shelf")
    refused = perennial("teach", tmp_path, "--dataset", "shelf", "--model", "told")
    assert "holds no <class>/<image> files" in refused.err
    assert perennial("teach", tmp_path, "--model", "told", "--upload", "x").code == 2
    assert perennial("dataset", "create", "jars", "--kind", "captioned").code == 0
    assert perennial("dataset", "upload", "jars", tmp_path).out.startswith("24 created")
    asked = ("teach", tmp_path, "--dataset", "jars", "--model", "told")
    refused = perennial(*asked, "--recipe", '{"mixing_choice": "fit"}')
    assert refused.err.count("this update teaches captions") == 1
    assert "at /recipe/mixing_choice" in refused.err
    ended = perennial(*asked, "--wait", "--no-promote")
    assert ended.code == 0, ended.err
    assert "It was taught captions: of " in ended.out
    assert "captions" in perennial("versions", "told").out
    classes = tmp_path / "classes"
    for number, image in enumerate(
        pictures_on(Side.TRAIN, 14)[6:] + pictures_on(Side.HOLDOUT, 14)[6:]
    ):
        folder = classes / ("jug", "pot")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(image)
    both = perennial(
        *("teach", classes, "--captions", "jars", "--model", "told", "--wait", "--no-promote")
    )
    assert both.code == 0, both.err
    assert "It was taught 2 classes (jug, pot): of " in both.out
    assert "It was taught captions: of " in both.out
    assert "jug, pot, captions" in perennial("versions", "told").out
    assert site.client.versions.get("told", 2)["taught_captions"]
    assert site.client.versions.report("told", 2)["captions"]
