"""`perennial dataset`: create, fill, freeze, compare and delete datasets."""

from pathlib import Path
from typing import get_args

import click

from perennial.commands.data.imports import import_images
from perennial.terminal.arguments import FOLDER, example
from perennial.terminal.class_folders import labelled_images
from perennial.terminal.output import (
    json_option,
    print_fields,
    print_json,
    print_list,
    print_table,
)
from perennial.terminal.sending import OUTCOMES, send_images
from perennial.terminal.session import connected
from perennial.types.datasets import DatasetKind


@click.group()
def dataset() -> None:
    """Create, fill, freeze, compare and delete datasets."""


dataset.add_command(import_images)


@dataset.command(epilog=example("perennial dataset create products"))
@click.argument("name")
@click.option("--kind", type=click.Choice(get_args(DatasetKind)), default="labelled")
@click.option("--description", help="What it holds.")
@json_option
def create(name: str, kind: DatasetKind, description: str | None, as_json: bool) -> None:
    """Create an empty dataset."""
    with connected() as client:
        made = client.datasets.create(name, kind=kind, description=description)
    if as_json:
        print_json(made)
    else:
        click.echo(f"Created: {name}.")


@dataset.command("list", epilog=example("perennial dataset list"))
@json_option
def list_datasets(as_json: bool) -> None:
    """List all datasets."""
    with connected() as client:
        print_list(
            client.datasets.list(),
            as_json,
            ("dataset", "kind", "description", "created"),
            lambda one: (one["name"], one["kind"], one["description"], one["created_at"][:19]),
        )


@dataset.command(epilog=example("perennial dataset show products"))
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a dataset, the images of its classes, and its versions."""
    with connected() as client:
        found, versions = client.datasets.get(name), list(client.datasets.versions(name))
    if as_json:
        print_json({**found, "versions": versions})
        return
    fields = [("dataset", name), ("kind", found["kind"]), ("images", str(found["images"]))]
    print_fields(fields)
    print_table(("class", "images"), sorted(found["counts"].items()))
    rows = [
        (one["number"], one["images"], len(one["classes"]), one["created_at"][:19])
        for one in versions
    ]
    print_table(("version", "images", "classes", "created"), rows)


@dataset.command(epilog=example("perennial dataset upload products ./shoes"))
@click.argument("name")
@click.argument("folder", type=FOLDER)
@json_option
def upload(name: str, folder: Path, as_json: bool) -> None:
    """Upload FOLDER, which holds a folder of images for each class; sent again, nothing changes."""
    images = labelled_images(folder)
    with connected() as client:
        counts = send_images(client, name, images)
    if as_json:
        print_json({outcome: counts[outcome] for outcome in OUTCOMES})
    else:
        click.echo(", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))


@dataset.command(epilog=example("perennial dataset freeze products"))
@click.argument("name")
@json_option
def freeze(name: str, as_json: bool) -> None:
    """Make a version, which never changes, of all present images."""
    with connected() as client:
        made = client.datasets.freeze(name)
    if as_json:
        print_json(made)
        return
    click.echo(
        f"{name}, version {made['number']}: {made['images']} images, "
        f"{len(made['classes'])} classes."
    )


@dataset.command(epilog=example("perennial dataset diff products 1 2"))
@click.argument("name")
@click.argument("before", type=int)
@click.argument("now", type=int)
@json_option
def diff(name: str, before: int, now: int, as_json: bool) -> None:
    """Show what version NOW added, removed and moved since version BEFORE."""
    with connected() as client:
        found = client.datasets.diff(name, now, against=before)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['added']} added, {found['removed']} removed, {found['moved']} moved")
    names = ("added", "removed", "moved_in", "moved_out")
    rows = [
        (name, row["added"], row["removed"], row["moved_in"], row["moved_out"])
        for name, row in found["classes"].items()
    ]
    print_table(("class", *names), rows)


@dataset.command(
    "rename-class", epilog=example("perennial dataset rename-class products sneaker trainer")
)
@click.argument("name")
@click.argument("old")
@click.argument("new")
@click.option("--merge", is_flag=True, help="Merge with the class of that name, if there is one.")
@json_option
def rename_class(name: str, old: str, new: str, merge: bool, as_json: bool) -> None:
    """Rename a class of a dataset's present images."""
    with connected() as client:
        found = client.datasets.rename_class(name, old, new, merge=merge)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['class']}: {found['images']} images.")


@dataset.command(epilog=example("perennial dataset delete products --yes"))
@click.argument("name")
@click.confirmation_option(prompt="Delete the dataset with its images and versions?")
def delete(name: str) -> None:
    """Delete a dataset with its images and versions, none of which may be in use."""
    with connected() as client:
        client.datasets.delete(name)
    click.echo(f"Deleted: {name}.")
