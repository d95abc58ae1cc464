"""`perennial trial samples` and `delete-samples`: images about which two versions disagree."""

from pathlib import Path

import click

from perennial.client import Client
from perennial.terminal.arguments import NEW_FOLDER, alias_option, example, trial_option
from perennial.terminal.output import json_option, note, print_list
from perennial.terminal.session import connected
from perennial.types.trials import Sample


@click.command(
    epilog=example(
        "perennial trial samples demo",
        "perennial trial samples demo --to ./disagreements",
    )
)
@click.argument("model")
@alias_option
@trial_option
@click.option(
    "--to", type=NEW_FOLDER, metavar="FOLDER", help="Save the images there, as <pixels>.webp."
)
@json_option
def samples(model: str, alias: str, trial: str, to: Path | None, as_json: bool) -> None:
    """List the images about which the versions of a shadow disagree.

    A service keeps some only if it is set up to.
    """
    with connected() as client:
        # Another trial may begin at any moment, and be the latest.
        trial = client.trials.get(model, trial, alias=alias)["id"]
        found = list(client.trials.samples(model, trial, alias=alias))
        if to is not None:
            to.mkdir(parents=True, exist_ok=True)
            for one in found:
                _save(client, model, alias, trial, one, to)
            note(f"{to}: {len(found):,} images.")
    print_list(
        found,
        as_json,
        ("pixels", "current says", "candidate says", "prediction", "at"),
        lambda one: (
            one["pixels"],
            one["current"],
            one["candidate"],
            one["prediction"],
            one["at"][:19],
        ),
    )


@click.command("delete-samples", epilog=example("perennial trial delete-samples demo --yes"))
@click.argument("model")
@alias_option
@trial_option
@click.confirmation_option(prompt="Delete the samples of the trial?")
def delete_samples(model: str, alias: str, trial: str) -> None:
    """Delete the samples of a trial; its counts stay, and no others are kept in their place."""
    with connected() as client:
        client.trials.delete_samples(model, trial, alias=alias)
    click.echo(f"{model}@{alias}: the samples of the trial are deleted.")


def _save(client: Client, model: str, alias: str, trial: str, one: Sample, to: Path) -> None:
    """Save an image unless it is there; its file appears once it is whole."""
    file = to / f"{Path(one['pixels']).name}.webp"  # in the folder, whatever the service says
    if not file.exists():
        image = client.trials.read_sample(model, one["pixels"], trial, alias=alias)
        part = file.with_suffix(".part")
        part.unlink(missing_ok=True)  # of an earlier call, or a link to somewhere else
        with part.open("xb") as whole:
            whole.write(image)
        part.replace(file)
