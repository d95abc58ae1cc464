"""`perennial teach`: folders of images in, a new version out."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from perennial.terminal.arguments import FOLDER, example, recipe_option
from perennial.terminal.class_folders import labelled_images
from perennial.terminal.following import (
    follow,
    gate_option,
    require_passed,
    tell_end,
    tell_ordered,
    wait_option,
)
from perennial.terminal.output import json_option, note, print_json
from perennial.terminal.sending import ensure_dataset, send_archive, send_images
from perennial.terminal.session import connected

# More than this is sent as one archive, whose upload goes on where it was interrupted.
FORM_IMAGES, FORM_BYTES = 1000, 256 * 1024**2


@click.command(epilog=example("perennial teach ./new-images --model demo --wait --fail-on-gate"))
@click.argument("folder", type=FOLDER)
@click.option("--model", "-m", required=True, help="Model to teach.")
@click.option(
    "--dataset", help="Dataset to add the images to, new or not (default: one of this call)."
)
@recipe_option
@click.option("--alias", help="Alias to update and move (default: production).")
@click.option("--parent", type=int, metavar="VERSION", help="Version to start from.")
@click.option("--prompt", help="Prompt template with one {name}.")
@click.option("--no-promote", is_flag=True, help="Do not move the alias when the gate passes.")
@click.option("--upload", metavar="ID", help="Resume an interrupted upload.")
@wait_option
@gate_option
@json_option
def teach(
    folder: Path,
    model: str,
    dataset: str | None,
    no_promote: bool,
    upload: str | None,
    wait: bool,
    fail_on_gate: bool,
    as_json: bool,
    **order: Any,
) -> None:
    """Teach a model the classes of a folder of images.

    FOLDER holds a folder of images for each class. Sends the images, freezes the dataset and orders
    an update. Prints the job, which goes on by itself; with --wait, follows it and prints what the
    gate says of the new version.
    """
    if fail_on_gate and not wait:
        raise click.UsageError("--fail-on-gate needs --wait.")
    images = labelled_images(folder)
    name = dataset or f"{model}-{secrets.token_hex(4)}"
    with connected() as client:
        client.models.get(model)
        ensure_dataset(client, name)
        if upload is not None or _is_large(images):
            send_archive(client, name, folder, upload=upload)
        else:
            send_images(client, name, images)
        frozen = client.datasets.freeze(name)
        note(f"Dataset {name}, version {frozen['number']}: {frozen['images']} images.")
        job = client.jobs.order_update(
            model=model,
            dataset=name,
            dataset_version=frozen["number"],
            auto_promote=False if no_promote else None,
            **order,
        )
        if wait:
            job = follow(client, job["id"])
        if as_json:
            print_json(job)
        elif wait:
            tell_end(client, job)
        else:
            tell_ordered(job)
    if fail_on_gate:
        require_passed(job)


def _is_large(images: Sequence[tuple[str, Path]]) -> bool:
    return len(images) > FORM_IMAGES or sum(path.stat().st_size for _, path in images) > FORM_BYTES
