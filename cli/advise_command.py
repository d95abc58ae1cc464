"""`perennial advise`: advice of a running service on an update, as tables."""

import argparse
import json
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.table import Table

from cli.service import reply, service
from core.errors import FieldInvalid

TIMEOUT_S = 600.0  # the parent may have to be loaded first, and classifies a sample of the images


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    advise = commands.add_parser(
        "advise",
        help="advise on an update before it is ordered",
        description="Advise on an update before it is ordered. The running service is asked with "
        "the key in PERENNIAL_ADMIN_KEY; nothing is queued or written.",
    )
    advise.add_argument("model", help="name of the model to teach")
    advise.add_argument("dataset", help="name of the dataset to teach it")
    advise.add_argument(
        "--dataset-version", type=int, metavar="N", help="version of it (default: the newest)"
    )
    advise.add_argument(
        "--recipe", type=_recipe, default={}, metavar="JSON", help="such as '{\"epochs\": 3}'"
    )
    advise.add_argument("--url", help="the service (default: at PERENNIAL_HOST, PERENNIAL_PORT)")
    advise.set_defaults(run=_run)


def _recipe(text: str) -> dict[str, Any]:
    try:
        recipe = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(recipe, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return recipe


def _run(chosen: argparse.Namespace) -> int:
    order = {
        "type": "update",
        "model": chosen.model,
        "dataset": chosen.dataset,
        "recipe": chosen.recipe,
    }
    with service(chosen.url, timeout_s=TIMEOUT_S) as client:
        number = chosen.dataset_version
        order["dataset_version"] = (
            _newest_version(client, chosen.dataset) if number is None else number
        )
        advice = reply(client, "POST", "/v1/jobs/advice", json=order).json()
    _print(advice)
    return 0


def _newest_version(client: httpx.Client, dataset: str) -> int:
    """Return the number of a dataset's newest version. Raises FieldInvalid if it has none."""
    path, numbers, query = f"/v1/datasets/{quote(dataset, safe='')}/versions", [0], {"limit": "200"}
    while True:
        page = reply(client, "GET", path, params=query).json()
        numbers += [version["number"] for version in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["next"]
    if not numbers[-1]:
        raise FieldInvalid(f"The dataset {dataset} has no version: freeze it first.")
    return numbers[-1]


def _print(advice: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False)
    classes = Table("class", title=f"Update of {advice['model']}")
    for column in ("training images", "holdout", "test images", "recognised"):
        classes.add_column(column, justify="right")
    for row in advice["classes"]:
        asked = "" if row["asked"] is None else f"{row['recognised']} of {row['asked']}"
        numbers = (str(row[name]) for name in ("train", "holdout", "test"))
        classes.add_row(row["name"], *numbers, asked)
    findings = Table("severity", "finding", "message")
    for finding in advice["findings"]:
        findings.add_row(finding["severity"], finding["code"], finding["message"])
    console.print(classes, findings)
