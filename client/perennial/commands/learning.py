"""`perennial teach`, `convert` and `advise`."""

import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from perennial.client import Client
from perennial.commands.images import (
    ensure_dataset,
    finish_import,
    name_refused,
    send_archive,
    send_images,
    take_back,
    told_version,
)
from perennial.errors import JobFailed, ServiceError
from perennial.requests import given
from perennial.terminal.arguments import (
    FOLDER,
    example,
    find_dataset_version,
    find_version,
    force_option,
    gate_option,
    number_of,
    recipe_option,
    version_argument,
    wait_option,
)
from perennial.terminal.folders import CAPTIONS, labelled_images, read_folder
from perennial.terminal.output import json_option, note, print_table, tell
from perennial.terminal.session import Failure, connected, require_passed, tell_job
from perennial.types import Advice, Job, ServingPrecision

# `perennial teach`: folders of images in, a new version out.

# More than this is sent as one archive, whose upload goes on where it was interrupted.
FORM_IMAGES, FORM_BYTES = 1000, 256 * 1024**2


@click.command(
    epilog=example(
        "perennial teach ./new-images --model demo --wait --fail-on-gate",
        "perennial teach --dataset products:2 --model demo --wait",
        "perennial teach --dataset products:2 --captions photos:1 --model demo --wait",
    )
)
@click.argument("folder", type=FOLDER, required=False)
@click.option("--model", "-m", required=True, help="Model to teach.")
@click.option(
    "--dataset",
    metavar="NAME",
    help="Dataset to add the images to, new or not (default: one of this call). Without FOLDER: "
    "the dataset to teach, as it is now or as a version, such as products:2.",
)
@click.option(
    "--captions",
    metavar="NAME",
    help="Captioned dataset to teach beside the classes, as it is now or as a version.",
)
@recipe_option
@force_option
@click.option("--alias", help="Alias to update and move (default: production).")
@click.option("--parent", metavar="VERSION", help="Version to start from.")
@click.option("--prompt", help="Prompt template with one {name}.")
@click.option("--no-promote", is_flag=True, help="Do not move the alias when the gate passes.")
@click.option("--upload", metavar="ID", help="Resume an interrupted upload.")
@wait_option
@gate_option
@json_option
def teach(
    folder: Path | None,
    model: str,
    dataset: str | None,
    captions: str | None,
    parent: str | None,
    no_promote: bool,
    upload: str | None,
    wait: bool,
    fail_on_gate: bool,
    as_json: bool,
    **order: Any,
) -> None:
    """Teach a model a folder of images, or a dataset of images.

    FOLDER holds a folder of images for each class, or a captions.jsonl whose lines list `path` and
    `caption` or `captions` of each image. Sends the images, and orders an update that
    freezes them. Prints the job, which goes on by itself; with --wait, follows it and prints what
    the gate says of the new version. If the update is refused, nothing is frozen, and a dataset
    made for it is deleted.
    """
    if fail_on_gate and not wait:
        raise click.UsageError("--fail-on-gate needs --wait.")
    if folder is None and (dataset is None or upload is not None):
        raise click.UsageError("Give a FOLDER, or name a dataset with --dataset.")
    if folder is not None and ":" in (dataset or ""):
        raise click.UsageError("A version never changes: give either FOLDER or a version.")
    order["parent"] = None if parent is None else number_of(model, parent)
    order["auto_promote"] = False if no_promote else None
    with connected() as client:
        client.models.get(model)
        order["captions"] = _captions(client, captions)
        if folder is not None:
            job = _teach_folder(client, folder, model, dataset, upload, order)
        elif ":" in str(dataset):
            name, number = find_dataset_version(client, str(dataset))
            job = client.jobs.order_update(
                model=model, dataset=name, dataset_version=number, **order
            )
        else:
            job = _teach_dataset(client, model, str(dataset), order)
        job = tell_job(client, job, wait, as_json)
    if fail_on_gate:
        require_passed(job)


def _captions(client: Client, named: str | None) -> dict[str, Any] | None:
    if named is None:
        return None
    if ":" not in named:
        return {"dataset": named}
    name, number = find_dataset_version(client, named)
    return {"dataset": name, "version": number}


def _teach_folder(
    client: Client,
    folder: Path,
    model: str,
    dataset: str | None,
    upload: str | None,
    order: dict[str, Any],
) -> Job:
    """Send a folder's images to a dataset and teach it; a new one goes if that is refused."""
    captioned = _is_captioned(client, folder, dataset)
    if captioned and upload is not None:
        raise click.UsageError("Captions go without an upload: what was sent is not sent twice.")
    images = read_folder(folder, "retrieval") if captioned else labelled_images(folder)
    large = upload is not None or (_is_large(images) and not captioned)
    if (
        dataset is None
        and not (captioned or large)
        and given(**order).keys() <= {"recipe", "force"}
    ):
        note(f"Sending {len(images)} images ...")
        start = client.models.teach(model, images, recipe=order["recipe"], force=order["force"])
        name_refused(
            (str(path), one) for (_, path), one in zip(images, start["files"], strict=True)
        )
        note(f"Dataset {told_version(start['dataset']['name'], start['dataset_version'])}")
        return start["job"]
    name = dataset or f"{model}-{secrets.token_hex(4)}"
    made = ensure_dataset(client, name, "captioned" if captioned else "labelled")
    try:
        if large:
            sent = send_archive(client, folder, upload=upload)
            finish_import(client, client.datasets.import_upload(name, sent))
        else:
            send_images(client, name, images)
        return _teach_dataset(client, model, name, order)
    except (ServiceError, JobFailed, Failure):
        if made:
            take_back(client, name)
        raise


def _teach_dataset(client: Client, model: str, name: str, order: dict[str, Any]) -> Job:
    """Order an update of a dataset's present images, which are frozen unless it is refused."""
    job = client.jobs.order_update(model=model, dataset=name, **order)
    for version in client.datasets.versions(name):
        if job["dataset_version"] and version["number"] == job["dataset_version"]["version"]:
            note(f"Dataset {told_version(name, version)}")
    return job


def _is_captioned(client: Client, folder: Path, dataset: str | None) -> bool:
    """Return whether a folder has captions to teach; an existing dataset's kind decides."""
    if not (folder / CAPTIONS).is_file():
        return False
    try:
        return dataset is None or client.datasets.get(dataset)["kind"] == "captioned"
    except ServiceError as error:
        if error.code != "dataset_not_found":
            raise
        return True


def _is_large(images: Sequence[tuple[str, Path]]) -> bool:
    return len(images) > FORM_IMAGES or sum(path.stat().st_size for _, path in images) > FORM_BYTES


# `perennial convert`: a version in another precision.


@click.command(
    epilog=example(
        "perennial convert demo --precision bf16 --wait --fail-on-gate",
        "perennial convert demo:3 --precision bf16 --no-promote",
    )
)
@version_argument("MODEL[:VERSION]")
@click.option(
    "--precision",
    type=click.Choice(get_args(ServingPrecision)),
    required=True,
    help="The numbers in which the new version is scored and served.",
)
@click.option("--alias", help="Alias to compare with and move (default: production).")
@click.option("--no-promote", is_flag=True, help="Do not move the alias when the gate passes.")
@wait_option
@gate_option
@json_option
def convert(
    named: str, no_promote: bool, wait: bool, fail_on_gate: bool, as_json: bool, **order: Any
) -> None:
    """Make a version that has the tensors of another one, and another precision.

    Without a number, it is made of what the alias points to. It is scored as any version: it goes
    live if it holds what the version that it was made of knows.
    """
    if fail_on_gate and not wait:
        raise click.UsageError("--fail-on-gate needs --wait.")
    order["auto_promote"] = False if no_promote else None
    with connected() as client:
        model = named
        if re.search("[:@]", named):
            model, order["version"] = find_version(client, named)
        job = client.jobs.order_conversion(model=model, **order)
        job = tell_job(client, job, wait, as_json)
    if fail_on_gate:
        require_passed(job)


# `perennial advise`: advice on an update before it is ordered.


@click.command(epilog=example("perennial advise demo products:2 --recipe '{\"epochs\": 3}'"))
@click.argument("model")
@click.argument("dataset")
@click.option("--captions", metavar="NAME", help="Captioned dataset to teach beside the classes.")
@recipe_option
@json_option
def advise(
    model: str, dataset: str, captions: str | None, recipe: dict[str, Any] | None, as_json: bool
) -> None:
    """Advise on teaching a dataset; nothing is ordered.

    DATASET is its name, for its newest version, or name:2; so are the captions.
    """
    with connected() as client:
        name, number = find_dataset_version(client, dataset)
        beside: dict[str, Any] | None = None
        if captions is not None:
            other, newest = find_dataset_version(client, captions)
            beside = {"dataset": other, "version": newest}
        found = client.jobs.advise_update(
            model=model, dataset=name, dataset_version=number, captions=beside, recipe=recipe
        )
    tell(found, as_json, _print_advice)


def _print_advice(advice: Advice) -> None:
    print_table(
        ("class", "training images", "holdout", "test images", "recognised"),
        [
            (
                row["name"],
                row["train"],
                row["holdout"],
                row["test"],
                "" if row["asked"] is None else f"{row['recognised']} of {row['asked']}",
            )
            for row in advice["classes"]
        ],
        title=f"Update of {advice['model']}",
    )
    print_table(
        ("severity", "finding", "message"),
        [(one["severity"], one["code"], one["message"]) for one in advice["findings"]],
    )


VERBS = (teach, convert, advise)
