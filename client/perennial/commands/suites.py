"""`perennial suite`: images that models must not forget."""

import csv
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import get_args

import click

from perennial.client import Client
from perennial.commands.images import ensure_dataset, send_images, take_back
from perennial.errors import ServiceError
from perennial.terminal.arguments import FILE, FOLDER, NEW_FILE, NEW_FOLDER, example, find_version
from perennial.terminal.folders import any_images, read_folder
from perennial.terminal.output import json_option, note, print_json, print_list, tell, told_counts
from perennial.terminal.session import Failure, connected
from perennial.types import DatasetKind, Suite, SuiteKind


@click.group()
def suite() -> None:
    """Create suites of images, let them grow, label and retire them."""


@suite.command(
    "create",
    epilog=example(
        "perennial suite create emoji ./emoji --prompt 'a photo of {name} .' --model demo",
        "perennial suite create shelf ./photos --kind unlabelled --classes names.txt --model demo",
    ),
)
@click.argument("name")
@click.argument("folder", type=FOLDER)
@click.option(
    "--kind",
    type=click.Choice(get_args(SuiteKind)),
    default="zero_shot",
    show_default=True,
    help="What the suite measures.",
)
@click.option("--prompt", help="Prompt template with one {name} (default: the model's).")
@click.option(
    "--mirror",
    is_flag=True,
    help="A mirror image shows the same class: no letters, no left and right.",
)
@click.option(
    "--classes",
    type=FILE,
    help="A file with the classes of an unlabelled suite, one a line.",
)
@click.option("--model", "-m", help="Add it to this model, for all later evaluations.")
@json_option
def create_suite(
    name: str,
    folder: Path,
    kind: SuiteKind,
    prompt: str | None,
    mirror: bool,
    classes: Path | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Create a suite, which a model must not forget, from FOLDER.

    FOLDER holds <class>/<image> for zero_shot, or a captions.jsonl whose lines have 'path' and one
    of 'class', 'caption' and 'captions'; for unlabelled, it holds images, and --classes names what
    they may show: you will be asked for labels where versions disagree. The images become a dataset
    of the same name. If it is interrupted, the same command goes on. A suite of that name that is
    there already is taken as it is if it has as many images, the same classes, kind, prompt and
    --mirror. If it is refused, nothing is frozen, and a dataset made for it is deleted.
    """
    if (classes is not None) is not (kind == "unlabelled"):
        raise click.UsageError("A suite of the kind unlabelled takes --classes, others do not.")
    lines = classes.read_text("utf-8-sig").splitlines() if classes else []
    names = [line.strip() for line in lines if line.strip()]
    images = any_images(folder) if kind == "unlabelled" else read_folder(folder, kind)
    with connected() as client:
        found = _find_suite(client, name)
        if found is not None:
            _require_alike(found, images, kind, prompt, names, mirror=mirror)
        if prompt is None and model is not None and not found:
            prompt = next((one["prompt"] for one in client.versions.list(model)), None)
        made = found or _send_suite(client, name, images, kind, prompt, names, mirror=mirror)
        if kind == "zero_shot" and len(made["classes"]) == 1:
            note("It has one class, so it guards nothing: with no other, every version is right.")
        if model is not None:
            known = client.models.get(model)["suites"]
            client.models.change(model, suites=list(dict.fromkeys([*known, name])))
    there = " (there already; its images were not compared)" if found else ""
    added = f"; added to the model {model}" if model else ""
    size = f"{made['images']} images, {len(made['classes'])} classes"
    tell(made, as_json, f"Suite {name}: {size}{there}{added}.")


def _send_suite(
    client: Client,
    name: str,
    images: Sequence[tuple[str, Path]],
    kind: SuiteKind,
    prompt: str | None,
    classes: Sequence[str],
    *,
    mirror: bool,
) -> Suite:
    made = ensure_dataset(client, name, _kind_of(kind))
    try:
        note(told_counts(send_images(client, name, images)))
        return client.suites.create(
            name, kind=kind, dataset=name, prompt=prompt, mirror=mirror, classes=classes or None
        )
    except ServiceError:
        if made:
            take_back(client, name)
        raise


@suite.command(
    "grow", epilog=example("perennial suite grow emoji ./more-emoji --reason 'too few faces'")
)
@click.argument("name")
@click.argument("folder", type=FOLDER)
@click.option("--reason", required=True, help="Reason, kept in the audit log.")
@json_option
def grow_suite(name: str, folder: Path, reason: str, as_json: bool) -> None:
    """Add the images of FOLDER to a suite.

    Verdicts become more certain. NAME may be a version, such as demo:2: then the images join the
    holdout of the update that made it. FOLDER is as for `suite create`, with classes of the suite
    or update alone. The images go into the dataset of the suite's name, or demo-2-tests, and all
    that this holds is added. Score again what should go live.
    """
    model, number = "", 0
    with connected() as client:
        if ":" in name:
            model, number = find_version(client, name)
            kind: SuiteKind = "zero_shot"
            where = f"{model}-{number}-tests"
            classes = client.versions.get(model, number)["update_classes"]
        else:
            before = client.suites.get(name)
            kind, where, classes = before["kind"], name, before["classes"]
        if kind == "unlabelled":
            raise Failure(f"{name} is unlabelled, and cannot grow: make another suite.")
        images = read_folder(folder, kind)
        known = {one.lower() for one in classes} if kind == "zero_shot" else set()
        if known and (other := sorted({one for one, _ in images if one.lower() not in known})):
            raise Failure(
                f"{name} does not ask about these classes, and with them it would ask another "
                f"question: {', '.join(other[:20])}."
            )
        made = ensure_dataset(client, where, _kind_of(kind))
        try:
            note(told_counts(send_images(client, where, images)))
            if number:
                after = client.versions.add_test_images(model, number, dataset=where, reason=reason)
            else:
                after = client.suites.grow(name, dataset=where, reason=reason)
        except ServiceError:
            if made:
                take_back(client, where)
            raise
    told = f"Suite {name}" if not number else f"Added to the holdout of {name}"
    tell(after, as_json, f"{told}: {after['images']} images now (edition {after['edition']}).")


_KINDS: dict[SuiteKind, DatasetKind] = {
    "zero_shot": "labelled",
    "retrieval": "captioned",
    "unlabelled": "unlabelled",
}


def _kind_of(suite: SuiteKind) -> DatasetKind:
    return _KINDS[suite]


@suite.command("list", epilog=example("perennial suite list"))
@json_option
def list_suites(as_json: bool) -> None:
    """List all suites."""
    with connected() as client:
        print_list(
            client.suites.list(),
            as_json,
            ("suite", "kind", "images", "classes", "prompt", "retired"),
            lambda one: (
                one["name"],
                one["kind"],
                one["images"],
                len(one["classes"]),
                one["prompt"],
                (one["retired_at"] or "")[:10],
            ),
        )


@suite.command("retire", epilog=example("perennial suite retire emoji"))
@click.argument("name")
def retire_suite(name: str) -> None:
    """Retire a suite that judges no model.

    Its images may be trained on again. Reports that quote it stay. Its name stays taken.
    """
    with connected() as client:
        client.suites.delete(name)
    note(f"Suite {name} is retired.")


def _find_suite(client: Client, name: str) -> Suite | None:
    try:
        return client.suites.get(name)
    except ServiceError as error:
        if error.code != "suite_not_found":
            raise
        return None


def _require_alike(
    suite: Suite,
    images: Sequence[tuple[str, Path]],
    kind: SuiteKind,
    prompt: str | None,
    classes: Sequence[str],
    *,
    mirror: bool,
) -> None:
    """Raise Failure unless a suite is of the images, classes, kind, prompt and mirror asked for.

    A file that is there twice is one image, which has the class that it comes with first.
    """
    names = dict[str, str]()
    for name, path in images:
        names.setdefault(sha256(path.read_bytes()).hexdigest(), name)
    differ = ["was retired"] if suite["retired_at"] else []
    if suite["kind"] != kind:
        differ.append(f"is {suite['kind']}")
    if prompt not in {None, suite["prompt"]}:
        differ.append(f"has the prompt {suite['prompt']!r}")
    if mirror and not suite["mirror"]:
        differ.append("may not be mirrored")
    if suite["images"] != len(names):
        differ.append(f"has {suite['images']} images")
    wanted = {*names.values()} if kind == "zero_shot" else {*classes}
    if kind != "retrieval" and set(suite["classes"]) != wanted:
        differ.append("has other classes")
    if differ:
        raise Failure(
            f"There is already a suite {suite['name']}, which {' and '.join(differ)}, and suites "
            "cannot be changed: choose another name."
        )


# `perennial suite to-label` and `label`: the images about which versions disagree.

COLUMNS = ("pixels", "class")


@suite.command(
    "to-label",
    epilog=example("perennial suite to-label shelf demo:3 --output labels.csv --images ./to-label"),
)
@click.argument("name")
@click.argument("version")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--output",
    type=NEW_FILE,
    metavar="FILE",
    help="Write them as CSV, to be completed and sent with `perennial suite label`.",
)
@click.option(
    "--images", type=NEW_FOLDER, metavar="FOLDER", help="Save the images there, numbered in order."
)
@json_option
def to_label(
    name: str, version: str, limit: int, output: Path | None, images: Path | None, as_json: bool
) -> None:
    """List the images that VERSION needs labels of.

    They are those of an unlabelled suite about which it disagrees with a version that it is
    compared with. Their order is random: label them from the first one on and leave none out, since
    labels count up to the first image without one. Where versions agree, a label tells nothing
    about which is better. The page of the suite, *Label images...*, shows one after another.
    """
    with connected() as client:
        found = list(islice(client.suites.to_label(name, version), limit))
        if images is not None:
            images.mkdir(parents=True, exist_ok=True)
            for number, one in enumerate(found, 1):
                file = images / f"{number:05}-{Path(one['pixels']).name[:12]}.webp"
                file.write_bytes(client.suites.read_image(name, one["pixels"]))
            note(f"{images}: {len(found):,} images.")
    if output is not None:
        with output.open("x", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(COLUMNS)
            writer.writerows((one["pixels"], "") for one in found)
        note(f"{output}: {len(found):,} images to label.")
        return
    print_list(found, as_json, ("pixels",), lambda one: (one["pixels"],))


@suite.command("label", epilog=example("perennial suite label shelf labels.csv"))
@click.argument("name")
@click.argument("file", type=FILE)
@json_option
def label(name: str, file: Path, as_json: bool) -> None:
    """Label images of an unlabelled suite.

    FILE is a CSV file of pixels and classes, such as `perennial suite to-label` writes; rows
    without a class are left out. If an image shows none of the suite's classes, write 'none of
    these'. A label stays. Score again what should go live.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    if rows and rows[0][:2] == list(COLUMNS):
        rows = [row[:2] for row in rows[1:] if "".join(row[1:2]).strip()]
    if any(len(row) != len(COLUMNS) for row in rows):
        raise click.UsageError(f"{file}: each line holds the pixels of an image and a class.")
    if not rows:
        raise click.UsageError(f"{file}: no line has a class.")
    with connected() as client:
        receipts = client.suites.label(name, ((row[0], row[1]) for row in rows))
    if as_json:
        print_json(receipts)
        return
    for one in receipts:
        if one["error"]:
            note(f"{one['pixels'][:12]}: {one['error']['code']}: {one['error']['detail']}")
    counts = [one["status"] for one in receipts]
    click.echo(
        f"{counts.count('added'):,} added, {counts.count('repeated'):,} repeated, "
        f"{counts.count(None):,} refused."
    )


VERBS = (suite,)
