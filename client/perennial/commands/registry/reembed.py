"""`perennial reembed`: the vectors of a dataset by a version."""

from pathlib import Path

import click

from perennial.commands.registry.export import NEW_PLACE, find_version, require_absent
from perennial.terminal.arguments import example
from perennial.terminal.failures import Failure
from perennial.terminal.following import follow, tell_ordered, wait_option
from perennial.terminal.newest_version import newest_version
from perennial.terminal.output import json_option, print_json
from perennial.terminal.progress import bytes_bar
from perennial.terminal.session import connected


@click.command(epilog=example("perennial reembed demo@production products --output vectors.npy"))
@click.argument("reference")
@click.argument("dataset")
@click.option("--dataset-version", type=int, metavar="N", help="Dataset version (default: newest).")
@click.option(
    "--output",
    type=NEW_PLACE,
    metavar="FILE",
    help="Wait, then write the vectors to this .npy file, and the list of rows beside it.",
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
    lines = None if output is None else _place_of_lines(output)
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
        if output is not None and lines is not None:
            with bytes_bar("receiving") as on_bytes:
                client.vectors.download(
                    model, version, dataset, number, to=output, on_bytes=on_bytes
                )
            client.vectors.download_images(model, version, dataset, number, to=lines)
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"{found['rows']:,} vectors of {found['width']} values: {found['dataset']} version "
            f"{found['dataset_version']} by {found['model']} version {found['version']}."
        )


def _place_of_lines(output: Path) -> Path:
    """Return the place of the lines beside the vectors. Raises Failure if either is taken."""
    lines = output.with_suffix(".jsonl")
    if lines == output:
        raise Failure(f"The list of rows goes to {output}: name the file of vectors .npy.")
    for file in (output, lines):
        require_absent(file)
    return lines
