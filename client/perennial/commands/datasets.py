"""`perennial dataset`, `import`, `erase` and `certificate`."""

import re
from pathlib import Path
from typing import get_args

import click

from perennial.client import Client
from perennial.commands.images import (
    ensure_dataset,
    finish_import,
    send_archive,
    send_images,
    sides_of,
    take_back,
    told_version,
)
from perennial.errors import ServiceError
from perennial.terminal.arguments import (
    FOLDER,
    NEW_FILE,
    example,
    number_of,
    source,
    version_argument,
    wait_option,
)
from perennial.terminal.folders import labelled_images, read_folder
from perennial.terminal.output import (
    OUTCOMES,
    json_option,
    print_fields,
    print_json,
    print_list,
    print_table,
    tell,
    told_counts,
    warn_of_live,
)
from perennial.terminal.session import Failure, connected, tell_ordered
from perennial.types import DatasetKind, Retraining

# `perennial dataset`: create, fill, freeze, compare and delete datasets.


@click.group()
def dataset() -> None:
    """Create, fill, freeze, compare and delete datasets."""


@dataset.command(epilog=example("perennial dataset create products"))
@click.argument("name")
@click.option("--kind", type=click.Choice(get_args(DatasetKind)), default="labelled")
@click.option("--description", help="What it holds.")
@json_option
def create(name: str, kind: DatasetKind, description: str | None, as_json: bool) -> None:
    """Create an empty dataset."""
    with connected() as client:
        made = client.datasets.create(name, kind=kind, description=description)
    tell(made, as_json, f"Created: {name}.")


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
        (
            f"{name}:{one['number']}",
            one["images"],
            len(one["classes"]),
            *sides_of(one),
            one["created_at"][:19],
        )
        for one in versions
    ]
    print_table(("version", "images", "classes", "to train on", "held out", "created"), rows)


@dataset.command(epilog=example("perennial dataset upload products ./shoes"))
@click.argument("name")
@click.argument("folder", type=FOLDER)
@json_option
def upload(name: str, folder: Path, as_json: bool) -> None:
    """Upload a folder of images with classes or captions.

    FOLDER holds a folder of images for each class. For a captioned dataset, its captions.jsonl
    lists `path` and `caption` or `captions` of each image. Sent again, nothing changes.
    """
    with connected() as client:
        captioned = client.datasets.get(name)["kind"] == "captioned"
        images = read_folder(folder, "retrieval") if captioned else labelled_images(folder)
        counts = send_images(client, name, images)
    tell({outcome: counts[outcome] for outcome in OUTCOMES}, as_json, told_counts(counts))


@dataset.command(epilog=example("perennial dataset freeze products"))
@click.argument("name")
@json_option
def freeze(name: str, as_json: bool) -> None:
    """Make a version, which never changes, of all present images.

    About a fifth of each class is held out, to measure what was learned: a tenth to three tenths,
    at least one of four images, none of two. An image never changes sides.
    """
    with connected() as client:
        made = client.datasets.freeze(name)
    tell(made, as_json, told_version(name, made))


@dataset.command(epilog=example("perennial dataset diff products:1 products:2"))
@version_argument("NAME:BEFORE NAME:NOW", count=2, bare=False)
@json_option
def diff(named: tuple[str, str], as_json: bool) -> None:
    """Compare two versions of a dataset.

    Show what NOW added, removed and moved since BEFORE.
    """
    name = named[0].partition(":")[0]
    before, now = (number_of(name, one) for one in named)
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
    tell(found, as_json, f"{found['class']}: {found['images']} images.")


@dataset.command(epilog=example("perennial dataset delete products --yes"))
@click.argument("name")
@click.confirmation_option(prompt="Delete the dataset with its images and versions?")
def delete(name: str) -> None:
    """Delete a dataset with its images and versions.

    None of these may be in use.
    """
    with connected() as client:
        client.datasets.delete(name)
    click.echo(f"Deleted: {name}.")


# `perennial dataset import`: an archive, a folder or a bucket of images into a dataset.


@click.command(
    "import",
    epilog=example(
        "perennial import products shoes.zip --wait",
        "perennial import products s3://photos/shoes --output report.csv",
        "perennial import products train.parquet --label-column category --wait",
        "perennial import photos captions.parquet --create captioned --wait",
    ),
)
@click.argument("dataset")
@click.argument("images", metavar="SOURCE", type=source)
@click.option(
    "--create",
    "kind",
    type=click.Choice(get_args(DatasetKind)),
    help="Create the dataset first, of this kind, if there is none.",
)
@click.option(
    "--validate-only",
    is_flag=True,
    help="Only report what would happen to each file. A dataset that --create made is deleted "
    "again, after waiting.",
)
@click.option(
    "--output", type=NEW_FILE, metavar="FILE", help="Wait, then write the report to this CSV file."
)
@click.option("--upload", metavar="ID", help="Resume an interrupted upload.")
@click.option("--image-column", metavar="NAME", help="Column of the images, in Parquet.")
@click.option("--label-column", metavar="NAME", help="Column or field of the classes.")
@click.option("--caption-column", metavar="NAME", help="Column or field of the captions.")
@wait_option
@json_option
def import_images(
    dataset: str,
    images: Path | str,
    kind: DatasetKind | None,
    validate_only: bool,
    output: Path | None,
    upload: str | None,
    image_column: str | None,
    label_column: str | None,
    caption_column: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Import a folder, a file or a bucket into a dataset.

    SOURCE is a folder, a zip, tar, tar.gz or Parquet file, or s3://BUCKET/PREFIX, which the service
    itself reads if its operator allows it. All of its images are added, or none. Folders of images
    become classes, unless Parquet files hold the images, or lists beside the images (CSV, JSON
    Lines, Parquet) name them. Columns are found by their names and types, unless they are named.
    """
    columns = {
        "image_column": image_column,
        "label_column": label_column,
        "caption_column": caption_column,
    }
    with connected() as client:
        for_a_check = _have(client, dataset, kind) and validate_only
        try:
            if isinstance(images, str):
                job = client.datasets.import_bucket(
                    dataset, images, validate_only=validate_only, **columns
                )
            else:
                sent = send_archive(client, images, upload=upload)
                job = client.datasets.import_upload(
                    dataset, sent, validate_only=validate_only, **columns
                )
            if not (wait or output or for_a_check):
                tell_ordered(job, as_json)
                return
            job = finish_import(client, job)
            if output is not None:
                headers = {"Accept": "text/csv"}
                table = client.request("GET", job["links"]["report"], headers=headers)
                output.write_bytes(table.content)
        finally:
            if for_a_check:
                take_back(client, dataset)
    tell(job, as_json, told_counts(job["result"] or {}))


def _have(client: Client, name: str, kind: DatasetKind | None) -> bool:
    """Have a dataset before anything is sent to it, and return whether it was created.

    It is created if a kind is given. Raises Failure without a kind if there is none.
    """
    if kind is not None:
        return ensure_dataset(client, name, kind)
    try:
        client.datasets.get(name)
    except ServiceError as error:
        if error.code != "dataset_not_found":
            raise
        hint = "Add --create labelled, captioned or unlabelled to make one."
        raise Failure(f"{error.detail} {hint}") from error
    return False


dataset.add_command(import_images)

# `perennial erase` and `perennial certificate`: take images back.

_DIGEST = re.compile(r"[0-9a-f]{64}")


def _images(
    _: click.Context, __: click.Parameter, values: tuple[str, ...]
) -> tuple[str | Path, ...]:
    for value in values:
        if not (_DIGEST.fullmatch(value) or Path(value).is_file()):
            raise click.BadParameter(f"{value} is neither 64 hexadecimal digits nor a file")
    return tuple(one if _DIGEST.fullmatch(one) else Path(one) for one in values)


@click.command(epilog=example("perennial erase photo.webp --reason 'asked for by mail'"))
@click.argument("images", nargs=-1, required=True, callback=_images)
@click.option("--reason", required=True, help="Reason, kept in the certificate.")
@click.option(
    "--retrain",
    type=click.Choice(get_args(Retraining)),
    default="all",
    show_default=True,
    help="Marked versions to train again; aliased: those of live lines.",
)
@json_option
def erase(images: tuple[str | Path, ...], reason: str, retrain: Retraining, as_json: bool) -> None:
    """Erase images from all that holds them or has learned from them.

    IMAGES are files as they were uploaded, or the digests of their pixels. Marks the versions that
    learned from them, and trains those again without them.
    """
    digests = [one for one in images if isinstance(one, str)]
    files = [one for one in images if isinstance(one, Path)]
    with connected() as client:
        if files:
            digests += client.erasures.identify(files)
        ordered = client.erasures.order(digests, reason=reason, retrain=retrain)
    told = (
        f"Ordered: {ordered['id']}, job {ordered['job']}.\n"
        f"`perennial certificate {ordered['id']}` shows what was taken back, when it is."
    )
    tell(ordered, as_json, told)


@click.command(epilog=example("perennial certificate era_01a218fa32962d6d06d5fb2d0534"))
@click.argument("erasure")
@json_option
def certificate(erasure: str, as_json: bool) -> None:
    """Show what an erasure has taken back, and what it cannot reach."""
    with connected() as client:
        found = client.erasures.certificate(erasure)
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("erasure", found["erasure"]),
            ("status", found["status"]),
            ("reason", found["reason"]),
            ("ordered", f"{found['ordered_at'][:19]} by {found['ordered_by']}"),
            ("erased", found["erased_at"][:19]),
            *(("image", one["pixels"]) for one in found["images"]),
        ]
    )
    rows = [
        (one["model"], one["version"], one["learned"], one["replaced_by"], one["obstacle"])
        for one in found["versions"]
    ]
    print_table(("model", "version", "learned", "replaced by", "obstacle"), rows)
    live = [(one["model"], one["alias"], one["version"]) for one in found["aliases"]]
    print_table(("model", "alias", "still at version"), live)
    for one in found["aliases"]:
        warn_of_live(one["model"], one["version"], one["alias"], one["next_step"])
    remains = [(one["where"], one["what"]) for one in found["remains"]]
    print_table(("where copies may remain", "what"), remains)


VERBS = (dataset, import_images, erase, certificate)
