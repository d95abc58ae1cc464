"""`perennial suite`: create suites from folders of images, and list them."""

from pathlib import Path
from typing import get_args

import click

from perennial.client import Client
from perennial.errors import ServiceError
from perennial.terminal.arguments import FOLDER, example
from perennial.terminal.captioned_folder import read_folder
from perennial.terminal.failures import Failure
from perennial.terminal.output import json_option, note, print_json, print_list
from perennial.terminal.sending import OUTCOMES, ensure_dataset, send_images
from perennial.terminal.session import connected
from perennial.types.evaluation.suites import SuiteKind


@click.group()
def suite() -> None:
    """Create suites from folders of images, and list them."""


@suite.command("create", epilog=example(
        "perennial suite create emoji ./emoji --prompt 'a photo of {name} .' --model demo"
    )
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
@click.option("--prompt", help="Prompt template with one {name} (default: the service's).")
@click.option("--model", "-m", help="Add it to this model, for all later evaluations.")
@json_option
def create(
    name: str, folder: Path, kind: SuiteKind, prompt: str | None, model: str | None, as_json: bool
) -> None:
    """Create a suite, which a model must not forget, from FOLDER.

    FOLDER holds <class>/<image> for zero_shot, or a captions.jsonl whose lines have 'path' and one
    of 'class', 'caption' and 'captions'. The images become a dataset of the same name. If it is
    interrupted, the same command goes on.
    """
    images = read_folder(folder, kind)
    with connected() as client:
        _require_free(client, name)
        ensure_dataset(client, name, "labelled" if kind == "zero_shot" else "captioned")
        counts = send_images(client, name, images)
        note(", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))
        frozen = client.datasets.freeze(name)
        made = client.suites.create(
            name, kind=kind, dataset=name, dataset_version=frozen["number"], prompt=prompt
        )
        if model is not None:
            known = client.models.get(model)["suites"]
            client.models.change(model, suites=[*known, name])
    if as_json:
        print_json(made)
        return
    added = f"; added to the model {model}" if model else ""
    click.echo(f"Suite {name}: {made['images']} images, {len(made['classes'])} classes{added}.")


@suite.command("list", epilog=example("perennial suite list"))
@json_option
def list_suites(as_json: bool) -> None:
    """List all suites."""
    with connected() as client:
        print_list(
            client.suites.list(),
            as_json,
            ("suite", "kind", "images", "classes", "prompt"),
            lambda one: (
                one["name"],
                one["kind"],
                one["images"],
                len(one["classes"]),
                one["prompt"],
            ),
        )


def _require_free(client: Client, name: str) -> None:
    """Raise Failure if the suite exists, before any image is sent."""
    try:
        client.suites.get(name)
    except ServiceError as error:
        if error.code != "suite_not_found":
            raise
        return
    raise Failure(f"There is already a suite {name}, and suites cannot be changed.")
