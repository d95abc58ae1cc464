"""Datasets, suites, advice and erasures from the command line."""

import json
import re
from pathlib import Path

from sqlalchemy import update

from core.database.tables import versions
from perennial.requests import ImageFile
from perennial.terminal.session import ERROR, JOB, USAGE
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate, a_root
from tests.unit.client.commands.conftest import Run, Site, rows


def test_a_dataset_is_filled_frozen_corrected_and_deleted(
    perennial: Run, folder: Path, tmp_path: Path
) -> None:
    assert perennial("dataset", "create", "products", "--json").code == 0
    sent = "22 created, 0 duplicate, 0 label_conflict, 0 rejected\n"
    assert perennial("dataset", "upload", "products", folder).out == sent
    frozen = perennial("dataset", "freeze", "products").out
    told = r"products, version 1: 22 images, 2 classes; (\d+) to train on, (\d+) held out: .+\n"
    train, held_out = re.fullmatch(told, frozen).groups()  # type: ignore[union-attr]
    assert int(train) + int(held_out) == 22
    renamed = perennial("dataset", "rename-class", "products", "boot", "shoe")
    assert renamed.out == "shoe: 11 images.\n"
    perennial("dataset", "freeze", "products")
    changed = perennial("dataset", "diff", "products:1", "products:2").out
    assert changed.startswith("0 added, 0 removed, 11 moved\n")
    assert ["shoe", "0", "0", "11", "0"] in rows(changed, 5)
    shown = perennial("dataset", "show", "products").out
    assert ["shoe", "11"] in rows(shown, 2)
    assert ["products:1", "22", "2", train, held_out] in rows(shown, 5)
    assert "products" in perennial("dataset", "list").out
    assert perennial("dataset", "delete", "products", "--yes").code == 0
    assert perennial("dataset", "show", "pest").err == (
        "perennial: There is no such dataset. Did you mean pets?\n"
    )


def test_a_folder_is_imported_and_what_is_refused_is_named(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    (tmp_path / "in" / "boot").mkdir(parents=True)
    (tmp_path / "in" / "boot" / "1.png").write_bytes(picture(1))
    (tmp_path / "in" / "boot" / "2.png").write_bytes(b"no image")
    missing = perennial("import", "imported", tmp_path / "in")
    assert missing.err.startswith("perennial: There is no such dataset.")
    assert missing.err.endswith("Add --create labelled, captioned or unlabelled to make one.\n")
    table = tmp_path / "report.csv"
    command = ("imported", tmp_path / "in")
    checked = perennial("import", *command, "--create", "labelled", "--validate-only")
    assert checked.out == "1 created, 0 duplicate, 0 label_conflict, 1 rejected\n"
    broken = tmp_path / "broken.zip"
    broken.write_bytes(zipped({"boot/1.png": picture(1)})[:-9])
    failed = perennial("import", "imported", broken, "--create", "labelled", "--validate-only")
    assert (failed.code, "damaged or truncated" in failed.err) == (JOB, True)
    assert perennial("import", *command).err == missing.err  # none of them has left a dataset
    said = perennial("dataset", "import", *command, "--create", "labelled", "--output", table)
    assert said.out == "1 created, 0 duplicate, 0 label_conflict, 1 rejected\n"
    assert "boot/2.png: Images must be" in said.err
    assert [line.split(",")[0] for line in table.read_text().splitlines()[1:]] == [
        "boot/1.png",
        "boot/2.png",
    ]
    ordered = perennial("import", *command)
    assert ordered.out.startswith("Ordered: job_")
    watched = perennial("watch", ordered.out.split()[1].removesuffix("."))
    assert watched.out == "0 created, 1 duplicate, 0 label_conflict, 1 rejected\n"


def test_what_cannot_be_imported_is_an_error(site: Site, perennial: Run, tmp_path: Path) -> None:
    site.client.datasets.create("empty")
    (tmp_path / "a.zip").write_bytes(zipped({"boot/1.png": picture(1)})[:-9])
    (tmp_path / "b.zip").write_bytes(zipped({"boot/a.zip": zipped({})}))
    for source, code, words in (
        (tmp_path / "a.zip", JOB, "damaged or truncated"),
        (tmp_path / "b.zip", JOB, "An archive or a compressed file"),
        ("s3://photos/shoes", ERROR, "Imports may not read the bucket 'photos'"),
        (tmp_path / "no.zip", USAGE, "does not exist"),
        (Path(__file__), ERROR, "must be a zip"),
    ):
        ended = perennial("import", "empty", source, "--wait")
        assert (ended.code, words in ended.err) == (code, True), ended.err


def test_a_suite_for_a_model_asks_with_the_prompt_of_that_model(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    model = a_root(site.platform, "spoken")
    theirs = update(versions).where(versions.c.model == model.id).values(prompt="so, {name}")
    with site.platform.transactions() as work:
        work.connection.execute(theirs)
        work.commit()
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "0.png").write_bytes(picture(510))
    assert perennial("suite", "create", "owls", tmp_path, "--model", "spoken").code == 0
    assert site.client.suites.get("owls")["prompt"] == "so, {name}"


def test_a_suite_is_made_of_class_folders(site: Site, perennial: Run, tmp_path: Path) -> None:
    for seed, name in enumerate(["cat", "cat", "dog"]):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{seed}.png").write_bytes(picture(500 + seed))
    broken = tmp_path / "dog" / "broken.png"
    broken.write_bytes(b"not an image")
    command = ("suite", "create", "animals", tmp_path, "--prompt", "one {name}", "--model", "demo")
    told = perennial(*command)
    assert told.out == "Suite animals: 3 images, 2 classes; added to the model demo.\n"
    assert f"{broken}: Images must be" in told.err
    assert site.client.suites.get("animals")["prompt"] == "one {name}"
    assert site.client.models.get("demo")["suites"] == ["pets", "animals"]
    assert ["animals", "zero_shot", "3", "2"] in rows(perennial("suite", "list").out, 4)

    broken.unlink()
    told = perennial(*command)  # goes on from the suite that is there
    assert told.out == (
        "Suite animals: 3 images, 2 classes (there already; its images were not compared); "
        "added to the model demo.\n"
    )
    assert site.client.models.get("demo")["suites"] == ["pets", "animals"]
    told = perennial("suite", "create", "beasts", tmp_path)
    assert (told.code, "belongs to a suite" in told.err) == (ERROR, True)
    assert "beasts" not in [dataset["name"] for dataset in site.client.datasets.list()]
    told = perennial("suite", "create", "animals", tmp_path, "--prompt", "a {name}")
    assert (told.code, "has the prompt 'one {name}', and" in told.err) == (ERROR, True)
    told = perennial("suite", "create", "animals", tmp_path, "--mirror")
    assert (told.code, "may not be mirrored, and" in told.err) == (ERROR, True)
    (tmp_path / "dog").rename(tmp_path / "fox")
    told = perennial("suite", "create", "animals", tmp_path)
    assert (told.code, "has other classes" in told.err) == (ERROR, True)
    (tmp_path / "fox" / "3.png").write_bytes(picture(504))
    told = perennial("suite", "create", "animals", tmp_path, "--kind", "retrieval")
    assert (told.code, "is zero_shot and has 3 images" in told.err) == (ERROR, True)
    assert site.client.datasets.get("animals")["images"] == 3

    assert "Models that it judges: demo" in perennial("suite", "retire", "animals").err
    site.client.models.change("demo", suites=["pets"], reason="a test")
    assert perennial("suite", "retire", "animals").code == 0
    assert site.client.suites.get("animals")["retired_at"]
    assert "which was retired" in perennial(*command).err
    (tmp_path / "one" / "owl").mkdir(parents=True)
    (tmp_path / "one" / "owl" / "1.png").write_bytes(picture(505))
    told = perennial("suite", "create", "owls", tmp_path / "one")
    assert "It has one class, so it guards nothing" in told.err


def test_a_suite_grows_by_class_folders_of_its_own_classes(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    for seed, name in enumerate(["ant", "bee", "ant"]):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{seed}.png").write_bytes(picture(710 + seed))
    assert perennial("suite", "create", "insects", tmp_path).code == 0
    (tmp_path / "bee" / "3.png").write_bytes(picture(713))
    told = perennial("suite", "grow", "insects", tmp_path, "--reason", "few")
    assert told.out == "Suite insects: 4 images now (edition 2).\n"
    assert site.client.suites.get("insects")["edition"] == 2
    (tmp_path / "wasp").mkdir()
    (tmp_path / "wasp" / "4.png").write_bytes(picture(714))
    told = perennial("suite", "grow", "insects", tmp_path, "--reason", "few")
    assert (told.code, "another question: wasp" in told.err) == (ERROR, True)
    assert site.client.datasets.get("insects")["images"] == 4
    told = perennial("suite", "grow", "insects:two", tmp_path, "--reason", "few")
    assert (told.code, "means no version" in told.err) == (ERROR, True)


def test_an_unlabelled_suite_is_labelled_where_versions_disagree(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    photos, names = tmp_path / "photos", tmp_path / "names.txt"
    (photos / "some").mkdir(parents=True)
    for seed in range(12):
        (photos / "some" / f"{seed}.png").write_bytes(picture(810 + seed))
    names.write_text("cat \r\n dog\n \n")
    create = ("suite", "create", "shelf", photos, "--kind", "unlabelled")
    assert "takes --classes" in perennial(*create).err
    told = perennial(*create, "--classes", names)
    assert told.out == "Suite shelf: 12 images, 2 classes.\n"
    assert "there already" in perennial(*create, "--classes", names).out
    names.write_text("cat\nowl\n")
    assert "has other classes" in perennial(*create, "--classes", names).err
    (photos / "more.png").write_bytes(picture(830))
    assert "cannot grow" in perennial("suite", "grow", "shelf", photos, "--reason", "few").err
    assert site.client.datasets.get("shelf")["images"] == 12
    labels, images = tmp_path / "labels.csv", tmp_path / "images"
    model = a_root(site.platform, "seen")
    a_candidate(site.platform, model)
    told = perennial("suite", "to-label", "shelf", "seen:2")
    assert (told.code, "evaluation has not finished" in told.err) == (ERROR, True)
    site.client.models.change("seen", suites=["shelf"])
    site.learner.root = site.client.versions.get("seen", 1)["digest"]
    assert perennial("evaluate", "seen:2", "--wait").code == 0
    to_label = ("suite", "to-label", "shelf", "seen:2")
    listed = perennial(*to_label, "--json").out.splitlines()
    told = perennial(*to_label, "--output", labels, "--images", images)
    assert f"{len(listed)} images to label" in told.err
    assert len(list(images.glob("0000*.webp"))) == min(9, len(listed))
    assert "no line has a class" in perennial("suite", "label", "shelf", labels).err
    header, *lines = labels.read_text().splitlines()
    filled = [header, f"{lines[0]}cat", f"{lines[1]}owl", *lines[2:]]
    labels.write_text("\n".join(filled))
    told = perennial("suite", "label", "shelf", labels)
    assert told.out == "1 added, 0 repeated, 1 refused.\n"
    assert "class_invalid" in told.err
    assert perennial(*to_label, "--json").out.splitlines() == listed[1:]


def test_a_list_gives_classes_or_captions_as_the_kind_of_suite_asks(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    lines = [
        {"path": "a.png", "cls": "dog", "captions": ["one", "two"]},
        {"path": "b.png", "class": "cat", "caption": "a cat on a mat"},
    ]
    (tmp_path / "captions.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    (tmp_path / "a.png").write_bytes(picture(600))
    (tmp_path / "b.png").write_bytes(picture(601))
    assert perennial("suite", "create", "named", tmp_path).code == 0
    assert site.client.suites.get("named")["classes"] == ["cat", "dog"]
    assert perennial("suite", "create", "talk", tmp_path, "--kind", "retrieval").code == 0
    texts = [sorted(image["texts"]) for image in site.client.datasets.images("talk")]
    assert sorted(texts) == [["a cat on a mat"], ["one", "two"]]


def test_a_list_that_cannot_be_read_names_the_line(perennial: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    listed = tmp_path / "captions.jsonl"
    for line in ("{", "[]", '{"path": "a.png"}', '{"path": "missing.png", "caption": "x"}'):
        listed.write_text("\n" + line)
        ended = perennial("suite", "create", "bad", tmp_path, "--kind", "retrieval")
        assert (ended.code, f"{listed} line 2" in ended.err) == (ERROR, True)


def test_an_image_is_erased_by_its_file_and_the_certificate_shown(
    site: Site, perennial: Run, tmp_path: Path
) -> None:
    client = site.client
    client.datasets.create("private")
    image = ImageFile(file_name="a.png", data=picture(700))
    (receipt,) = client.datasets.upload("private", [("face", image)])
    pixels = str(receipt["pixels"])
    photo = tmp_path / "photo.png"
    photo.write_bytes(image.data)
    ended = perennial("erase", photo, "--reason", "asked for", "--retrain", "none", "--json")
    ordered = json.loads(ended.out)
    assert (ordered["images"], ordered["ordered_by"]) == ([pixels], "admin")
    assert perennial("watch", ordered["job"]).code == 0
    proof = json.loads(perennial("certificate", ordered["id"], "--json").out)
    assert (proof["status"], proof["drafts"]) == ("done", ["private"])
    assert pixels in perennial("certificate", ordered["id"]).out
    wrong = perennial("erase", "abc", "--reason", "x")
    assert (wrong.code, "neither 64 hexadecimal digits nor a file" in wrong.err) == (USAGE, True)
