"""`perennial advise`: advice on an update before it is ordered."""

from typing import Any

import click

from perennial.terminal.arguments import example, recipe_option
from perennial.terminal.newest_version import newest_version
from perennial.terminal.output import json_option, print_json, print_table
from perennial.terminal.session import connected
from perennial.types.advice import Advice


@click.command(epilog=example("perennial advise demo products --recipe '{\"epochs\": 3}'"))
@click.argument("model")
@click.argument("dataset")
@click.option("--dataset-version", type=int, metavar="N", help="Dataset version (default: newest).")
@recipe_option
@json_option
def advise(
    model: str,
    dataset: str,
    dataset_version: int | None,
    recipe: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Advise on teaching a dataset; nothing is ordered."""
    with connected() as client:
        if dataset_version is None:
            dataset_version = newest_version(client, dataset)
        found = client.jobs.advise_update(
            model=model, dataset=dataset, dataset_version=dataset_version, recipe=recipe
        )
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(advice: Advice) -> None:
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
