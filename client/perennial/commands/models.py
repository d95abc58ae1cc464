"""`perennial model`: create, list, show and delete models, and their default recipes."""

import json
from typing import Any

import click

from perennial.terminal.arguments import example, force_option, json_object, wait_option
from perennial.terminal.output import json_option, print_fields, print_json, print_list, tell
from perennial.terminal.session import connected, tell_job
from perennial.types import Model


@click.group()
def model() -> None:
    """Create, list, show and delete models, and set their default recipes."""


@model.command("create", epilog=example("perennial model create demo --base bundled --wait"))
@click.argument("name")
@click.option(
    "--base", default="bundled", show_default=True, help="open_clip model, folder, or NAME:/FILE."
)
@click.option("--suite", "suites", multiple=True, help="Suite it must not forget; may be repeated.")
@click.option("--policy", help="Gate policy (default: the service's default).")
@wait_option
@json_option
def create(name: str, wait: bool, as_json: bool, **options: Any) -> None:
    """Create a model, whose version 1 is BASE."""
    with connected() as client:
        job = client.models.create(name, **options)
        tell_job(client, job, wait, as_json, lambda *_: click.echo(f"{name} is ready."))


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
def show_model(name: str, as_json: bool) -> None:
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
            ("default recipe", _default_recipe(found)),
            ("classes (version)", classes),
        ]
    )


@model.command(
    "recipe",
    epilog=example(
        "perennial model recipe demo",
        "perennial model recipe demo --set '{\"epochs\": 4}'",
        "perennial model recipe demo --clear",
    ),
)
@click.argument("name")
@click.option("--set", "chosen", type=json_object, metavar="JSON", help="Fields, or @FILE.")
@click.option("--clear", is_flag=True, help="Restore the default of the model's size.")
@force_option
@click.option("--reason", help="Reason, kept in the audit log.")
@json_option
def recipe(
    name: str,
    chosen: dict[str, Any] | None,
    clear: bool,
    force: bool | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Show or set a model's default recipe.

    It is what orders of updates leave out. Until it is set, it is that of the model's architecture
    and size.
    """
    if clear and chosen is not None:
        raise click.UsageError("Give --set or --clear.")
    with connected() as client:
        if clear or chosen is not None:
            found = client.models.set_default_recipe(name, chosen, force=force, reason=reason)
        else:
            found = client.models.get(name)
    tell(found, as_json, lambda one: click.echo(_default_recipe(one)))


@model.command("delete", epilog=example("perennial model delete demo --reason 'replaced by shop'"))
@click.argument("name")
@click.option("--reason", help="Reason, kept in the audit log; needed for one that was taught.")
@click.confirmation_option(prompt="Delete the model with its versions, aliases and jobs?")
def delete(name: str, reason: str | None) -> None:
    """Delete a model with its versions, aliases and jobs."""
    with connected() as client:
        client.models.delete(name, reason=reason)
    click.echo(f"Deleted: {name}.")


def _default_recipe(model: Model) -> str:
    default = model["default_recipe"]
    if default is None:
        return "that of its size, once it is imported"
    return f"{default['name']} {json.dumps(default['fields'])}: {default['source']}"


def _aliases(model: Model) -> str:
    return ", ".join(f"{alias}: {number}" for alias, number in model["aliases"].items())


VERBS = (model,)
