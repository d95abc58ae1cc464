"""`perennial reembed`: the vectors of a dataset by a version."""

from pathlib import Path

import click

from perennial.commands.registry.export import NEW_PLACE, find_version
from perennial.terminal.arguments import example
from perennial.terminal.following import follow, tell_ordered, wait_option
from perennial.terminal.newest_version import newest_version
from perennial.terminal.output import json_option, print_json
from perennial.terminal.progress import bytes_bar
from perennial.terminal.session import connected


@click.command(epilog=example("perennial reembed demo@production products --output vectors.npy"))
@click.argument("reference")
@click.argument("dataset")
@click.option("--dataset-version", type=int, metavar="N", help="Version of it (default: newest).")
@click.option(
    "--output",
    type=NEW_PLACE,
    metavar="FILE",
    help="Wait, and write the vectors there (.npy), and beside them what each row is of (.jsonl).",
)
@wait_option
@json_option
def reembed(
    reference: str,
    dataset: str,
    dataset_version: int | None,
    output: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Store the vectors of a dataset's images by a version.

    REFERENCE is a model, or name@alias, name:7 or name@sha256:...
    """
    with connected() as client:
        model, version = find_version(client, reference)
        number = newest_version(client, dataset) if dataset_version is None else dataset_version
        job = client.vectors.order(model, version, dataset, number)
        if not (wait or output):
            if as_json:
                print_json(job)
            else:
                tell_ordered(job)
            return
        follow(client, job["id"])
        found = client.vectors.get(model, version, dataset, number)
        if output is not None:
            with bytes_bar("receiving") as on_bytes:
                client.vectors.download(
                    model, version, dataset, number, to=output, on_bytes=on_bytes
                )
            lines = output.with_suffix(".jsonl")
            client.vectors.download_images(model, version, dataset, number, to=lines)
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"{found['rows']:,} vectors of {found['width']} values: {found['dataset']} version "
            f"{found['dataset_version']} by {found['model']} version {found['version']}."
        )
