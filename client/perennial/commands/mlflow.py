"""`perennial mlflow`: a mirror of a model in MLflow, and a guard of an alias there."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
import httpx

from perennial.errors import JobFailed, ServiceError
from perennial.terminal.arguments import example
from perennial.terminal.output import json_option, note, print_json_lines
from perennial.terminal.session import Failure, connected

SECRET = "PERENNIAL_WEBHOOK_SECRET"  # noqa: S105 the name of a variable

LOGIN = re.compile(r"(?<=://)[^/\s]*@")  # in an address

registry_option = click.option(
    "--registry",
    metavar="URI",
    help="MLflow's tracking server (default: MLFLOW_TRACKING_URI, as MLflow's own programs).",
)


def receiver(text: str) -> httpx.URL:
    """Return the address of a webhook. Raises BadParameter."""
    try:
        found = httpx.URL(text)
    except httpx.InvalidURL:
        found = httpx.URL()
    if found.scheme not in {"http", "https"} or not found.host:
        raise click.BadParameter("give an address with http:// or https://")
    return found


@click.group()
def mlflow() -> None:
    """Mirror models to an MLflow registry, and guard an alias there."""


@mlflow.command(epilog=example("perennial mlflow mirror demo --registry http://127.0.0.1:5000"))
@click.argument("model")
@click.option("--name", help="Name of the registered model (default: MODEL).")
@registry_option
@click.option(
    "--every", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Go on until Ctrl-C."
)
@click.option(
    "--loadable",
    is_flag=True,
    help="Also add what mlflow.pyfunc.load_model loads to versions that may go live.",
)
@json_option
def mirror(
    model: str,
    name: str | None,
    registry: str | None,
    every: float | None,
    loadable: bool,
    as_json: bool,
) -> None:
    """Show versions, verdicts, reports and aliases in MLflow.

    Run again, it adds what is new and changes what has changed. --loadable orders exports, which
    takes a contributor's key.
    """
    found = _registry(registry)
    from perennial.mlflow.mirror import Mirror

    with connected() as client:
        shown = Mirror(client, found, model, name or model, loadable=loadable)
        told_any = False

        def look() -> None:
            nonlocal told_any
            changes = _through_mlflow(shown.update)
            if not told_any or any(asdict(changes).values()):
                told_any = True
                _tell(changes, as_json, changes.told)

        _keep_looking(look, every)


@mlflow.command(epilog=example("perennial mlflow guard demo --alias champion"))
@click.argument("name")
@click.option("--alias", default="champion", show_default=True, help="Alias to guard.")
@registry_option
@click.option(
    "--webhook",
    type=receiver,
    metavar="URL",
    help=f"Where to POST each event, signed with {SECRET} (whsec_...) by Standard Webhooks.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0.01),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--once", is_flag=True, help="Look once, and end.")
@json_option
def guard(
    name: str,
    alias: str,
    registry: str | None,
    webhook: httpx.URL | None,
    every: float,
    once: bool,
    as_json: bool,
) -> None:
    """Move an alias in MLflow back from a version that has not passed.

    NAME is a registered model that `perennial mlflow mirror` has made.
    """
    secret = os.environ.get(SECRET, "")
    if webhook and not secret:
        raise click.UsageError(f"--webhook needs {SECRET}, which signs what is sent.")
    found = _registry(registry)
    from perennial.mlflow.guard import Guard, send, signer_of

    signer = signer_of(secret) if webhook else None
    with connected() as client:
        watching = _through_mlflow(lambda: Guard(client, found, name, alias))

        def look() -> None:
            event = _through_mlflow(watching.look)
            if event is None:
                return
            to = f"back to version {event.to_version}" if event.to_version else "deleted"
            told = f"{name}@{alias} stood on version {event.from_version}: {to}. {event.reason}"
            _tell(event, as_json, told)
            if webhook and signer and not send(event, webhook, signer):
                note(f"perennial: {webhook.host} did not take the event.")

        _keep_looking(look, None if once else every)


def _keep_looking(look: Callable[[], None], every: float | None) -> None:
    """Look once or, with `every`, again after so many seconds, until Ctrl-C.

    An error of the first look ends the command; one of a later look is told, and the next follows.
    """
    look()
    while every is not None:
        time.sleep(every)
        try:
            look()
        except (Failure, JobFailed, ServiceError, httpx.TransportError) as error:
            note(f"perennial: {error}; it looks again in {every:g} s.")


def _tell(value: Any, as_json: bool, told: str) -> None:
    """Print what has happened, as a line of JSON or in words."""
    if as_json:
        print_json_lines([asdict(value)])
    else:
        click.echo(told)


def _registry(uri: str | None) -> Any:
    """Return a client of MLflow. Raises Failure if the package is missing."""
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        message = "mlflow needs another package: pip install 'perennial-client[mlflow]'"
        raise Failure(message) from error
    return MlflowClient(uri, uri)


def _through_mlflow(act: Any) -> Any:
    """Return what a function returns. Raises Failure for what MLflow refuses or does not answer.

    MLflow tells the whole address that it asked; a login in that is left out.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        return act()
    except MlflowException as error:
        raise Failure(f"MLflow: {LOGIN.sub('', error.message)}") from error
    except RequestException as error:  # of artifacts
        raise Failure(f"MLflow: {LOGIN.sub('', str(error))}") from error


VERBS = (mlflow,)
