"""`perennial model`: create, list, show and delete models."""

import click

from perennial.terminal.arguments import example
from perennial.terminal.following import follow, tell_ordered, wait_option
from perennial.terminal.output import json_option, print_fields, print_json, print_list
from perennial.terminal.session import connected
from perennial.types.models import Model


@click.group()
def model() -> None:
    """Create, list, show and delete models."""


@model.command("create", epilog=example("perennial model create demo --base bundled --wait"))
@click.argument("name")
@click.option("--base", default="bundled", show_default=True, help="open_clip model or folder.")
@click.option("--suite", "suites", multiple=True, help="Suite it must not forget; may be repeated.")
@click.option("--policy", help="Gate policy (default: the service's default).")
@wait_option
@json_option
def create(
    name: str, base: str, suites: tuple[str, ...], policy: str | None, wait: bool, as_json: bool
) -> None:
    """Create a model, whose version 1 is BASE."""
    with connected() as client:
        job = client.models.create(name, base=base, suites=suites, policy=policy)
        if wait:
            job = follow(client, job["id"])
    if as_json:
        print_json(job)
    elif wait:
        click.echo(f"{name} is ready.")
    else:
        tell_ordered(job)


@model.command("list", epilog=example("perennial model list"))
@json_option
def list_models(as_json: bool) -> None:
    """List all models."""
    with connected() as client:
        print_list(
            client.models.list(),
            as_json,
            ("model", "aliases", "suites", "policy"),
            lambda one: (one["name"], _aliases(one), ", ".join(one["suites"]), one["policy"]),
        )


@model.command("show", epilog=example("perennial model show demo"))
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a model and the classes that its live version has learned."""
    with connected() as client:
        found, learned = client.models.get(name), client.models.classes(name)
    if as_json:
        print_json({**found, "classes": learned["data"]})
        return
    classes = ", ".join(f"{row['class']} ({row['version']})" for row in learned["data"])
    print_fields(
        [
            ("model", name),
            ("aliases", _aliases(found)),
            ("suites", ", ".join(found["suites"])),
            ("policy", found["policy"]),
            ("classes (version)", classes),
        ]
    )


@model.command("delete", epilog=example("perennial model delete demo"))
@click.argument("name")
@click.confirmation_option(prompt="Delete the model with its versions, aliases and jobs?")
def delete(name: str) -> None:
    """Delete a model with its versions, aliases and jobs."""
    with connected() as client:
        client.models.delete(name)
    click.echo(f"Deleted: {name}.")


def _aliases(model: Model) -> str:
    return ", ".join(f"{alias}: {number}" for alias, number in model["aliases"].items())
