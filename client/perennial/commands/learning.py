"""`perennial model`, `teach`, `convert`, `advise`, `job` and `watch`."""

import json
import re
import secrets
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click

from perennial.client import Client
from perennial.commands.images import (
    CAPTIONS,
    ensure_dataset,
    finish_import,
    labelled_images,
    name_refused,
    read_folder,
    send_archive,
    send_images,
    take_back,
    told_version,
)
from perennial.errors import JobFailed, ServiceError
from perennial.requests import given
from perennial.terminal.arguments import (
    FOLDER,
    example,
    filter_options,
    find_dataset_version,
    find_version,
    force_option,
    gate_option,
    json_object,
    number_of,
    recipe_option,
    version_argument,
    wait_option,
)
from perennial.terminal.output import (
    json_option,
    note,
    print_fields,
    print_json,
    print_json_lines,
    print_list,
    print_table,
    tell,
)
from perennial.terminal.session import (
    Failure,
    connected,
    ended,
    follow,
    require_passed,
    tell_end,
    tell_job,
)
from perennial.types import Advice, Job, JobFilters, JobSummary, Model, ServingPrecision

# `perennial model`: create, list, show and delete models, and their default recipes.


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


# `perennial teach`: folders of images in, a new version out.

# More than this is sent as one archive, whose upload goes on where it was interrupted.
FORM_IMAGES, FORM_BYTES = 1000, 256 * 1024**2


@click.command(
    epilog=example(
        "perennial teach ./new-images --model demo --wait --fail-on-gate",
        "perennial teach --dataset products:2 --model demo --wait",
        "perennial teach --dataset products:2 --captions photos:1 --model demo --wait",
    )
)
@click.argument("folder", type=FOLDER, required=False)
@click.option("--model", "-m", required=True, help="Model to teach.")
@click.option(
    "--dataset",
    metavar="NAME",
    help="Dataset to add the images to, new or not (default: one of this call). Without FOLDER: "
    "the dataset to teach, as it is now or as a version, such as products:2.",
)
@click.option(
    "--captions",
    metavar="NAME",
    help="Captioned dataset to teach beside the classes, as it is now or as a version.",
)
@recipe_option
@force_option
@click.option("--alias", help="Alias to update and move (default: production).")
@click.option("--parent", metavar="VERSION", help="Version to start from.")
@click.option("--prompt", help="Prompt template with one {name}.")
@click.option("--no-promote", is_flag=True, help="Do not move the alias when the gate passes.")
@click.option("--upload", metavar="ID", help="Resume an interrupted upload.")
@wait_option
@gate_option
@json_option
def teach(
    folder: Path | None,
    model: str,
    dataset: str | None,
    captions: str | None,
    parent: str | None,
    no_promote: bool,
    upload: str | None,
    wait: bool,
    fail_on_gate: bool,
    as_json: bool,
    **order: Any,
) -> None:
    """Teach a model a folder of images, or a dataset of images.

    FOLDER holds a folder of images for each class, or a captions.jsonl whose lines list `path` and
    `caption` or `captions` of each image. Sends the images, and orders an update that
    freezes them. Prints the job, which goes on by itself; with --wait, follows it and prints what
    the gate says of the new version. If the update is refused, nothing is frozen, and a dataset
    made for it is deleted.
    """
    if fail_on_gate and not wait:
        raise click.UsageError("--fail-on-gate needs --wait.")
    if folder is None and (dataset is None or upload is not None):
        raise click.UsageError("Give a FOLDER, or name a dataset with --dataset.")
    if folder is not None and ":" in (dataset or ""):
        raise click.UsageError("A version never changes: give either FOLDER or a version.")
    order["parent"] = None if parent is None else number_of(model, parent)
    order["auto_promote"] = False if no_promote else None
    with connected() as client:
        client.models.get(model)
        order["captions"] = _captions(client, captions)
        if folder is not None:
            job = _teach_folder(client, folder, model, dataset, upload, order)
        elif ":" in str(dataset):
            name, number = find_dataset_version(client, str(dataset))
            job = client.jobs.order_update(
                model=model, dataset=name, dataset_version=number, **order
            )
        else:
            job = _teach_dataset(client, model, str(dataset), order)
        job = tell_job(client, job, wait, as_json)
    if fail_on_gate:
        require_passed(job)


def _captions(client: Client, named: str | None) -> dict[str, Any] | None:
    if named is None:
        return None
    if ":" not in named:
        return {"dataset": named}
    name, number = find_dataset_version(client, named)
    return {"dataset": name, "version": number}


def _teach_folder(
    client: Client,
    folder: Path,
    model: str,
    dataset: str | None,
    upload: str | None,
    order: dict[str, Any],
) -> Job:
    """Send a folder's images to a dataset and teach it; a new one goes if that is refused."""
    captioned = _is_captioned(client, folder, dataset)
    if captioned and upload is not None:
        raise click.UsageError("Captions go without an upload: what was sent is not sent twice.")
    images = read_folder(folder, "retrieval") if captioned else labelled_images(folder)
    large = upload is not None or (_is_large(images) and not captioned)
    if (
        dataset is None
        and not (captioned or large)
        and given(**order).keys() <= {"recipe", "force"}
    ):
        note(f"Sending {len(images)} images ...")
        start = client.models.teach(model, images, recipe=order["recipe"], force=order["force"])
        name_refused(
            (str(path), one) for (_, path), one in zip(images, start["files"], strict=True)
        )
        note(f"Dataset {told_version(start['dataset']['name'], start['dataset_version'])}")
        return start["job"]
    name = dataset or f"{model}-{secrets.token_hex(4)}"
    made = ensure_dataset(client, name, "captioned" if captioned else "labelled")
    try:
        if large:
            sent = send_archive(client, folder, upload=upload)
            finish_import(client, client.datasets.import_upload(name, sent))
        else:
            send_images(client, name, images)
        return _teach_dataset(client, model, name, order)
    except (ServiceError, JobFailed, Failure):
        if made:
            take_back(client, name)
        raise


def _teach_dataset(client: Client, model: str, name: str, order: dict[str, Any]) -> Job:
    """Order an update of a dataset's present images, which are frozen unless it is refused."""
    job = client.jobs.order_update(model=model, dataset=name, **order)
    for version in client.datasets.versions(name):
        if job["dataset_version"] and version["number"] == job["dataset_version"]["version"]:
            note(f"Dataset {told_version(name, version)}")
    return job


def _is_captioned(client: Client, folder: Path, dataset: str | None) -> bool:
    """Return whether a folder has captions to teach; an existing dataset's kind decides."""
    if not (folder / CAPTIONS).is_file():
        return False
    try:
        return dataset is None or client.datasets.get(dataset)["kind"] == "captioned"
    except ServiceError as error:
        if error.code != "dataset_not_found":
            raise
        return True


def _is_large(images: Sequence[tuple[str, Path]]) -> bool:
    return len(images) > FORM_IMAGES or sum(path.stat().st_size for _, path in images) > FORM_BYTES


# `perennial convert`: a version in another precision.


@click.command(
    epilog=example(
        "perennial convert demo --precision bf16 --wait --fail-on-gate",
        "perennial convert demo:3 --precision bf16 --no-promote",
    )
)
@version_argument("MODEL[:VERSION]")
@click.option(
    "--precision",
    type=click.Choice(get_args(ServingPrecision)),
    required=True,
    help="The numbers in which the new version is scored and served.",
)
@click.option("--alias", help="Alias to compare with and move (default: production).")
@click.option("--no-promote", is_flag=True, help="Do not move the alias when the gate passes.")
@wait_option
@gate_option
@json_option
def convert(
    named: str, no_promote: bool, wait: bool, fail_on_gate: bool, as_json: bool, **order: Any
) -> None:
    """Make a version that has the tensors of another one, and another precision.

    Without a number, it is made of what the alias points to. It is scored as any version: it goes
    live if it holds what the version that it was made of knows.
    """
    if fail_on_gate and not wait:
        raise click.UsageError("--fail-on-gate needs --wait.")
    order["auto_promote"] = False if no_promote else None
    with connected() as client:
        model = named
        if re.search("[:@]", named):
            model, order["version"] = find_version(client, named)
        job = client.jobs.order_conversion(model=model, **order)
        job = tell_job(client, job, wait, as_json)
    if fail_on_gate:
        require_passed(job)


# `perennial advise`: advice on an update before it is ordered.


@click.command(epilog=example("perennial advise demo products:2 --recipe '{\"epochs\": 3}'"))
@click.argument("model")
@click.argument("dataset")
@click.option("--captions", metavar="NAME", help="Captioned dataset to teach beside the classes.")
@recipe_option
@json_option
def advise(
    model: str, dataset: str, captions: str | None, recipe: dict[str, Any] | None, as_json: bool
) -> None:
    """Advise on teaching a dataset; nothing is ordered.

    DATASET is its name, for its newest version, or name:2; so are the captions.
    """
    with connected() as client:
        name, number = find_dataset_version(client, dataset)
        beside: dict[str, Any] | None = None
        if captions is not None:
            other, newest = find_dataset_version(client, captions)
            beside = {"dataset": other, "version": newest}
        found = client.jobs.advise_update(
            model=model, dataset=name, dataset_version=number, captions=beside, recipe=recipe
        )
    tell(found, as_json, _print_advice)


def _print_advice(advice: Advice) -> None:
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


# `perennial job`: list, show, watch, cancel and retry jobs.

COLUMNS = ("type", "model", "status", "phase", "step", "verdict", "created")


@click.group()
def job() -> None:
    """List, show, watch, cancel and retry jobs."""


@job.command("list", epilog=example("perennial job list --model demo --status running"))
@filter_options(JobFilters, model="-m")
@click.option("--limit", type=int, default=20, show_default=True, help="How many, newest first.")
@json_option
def list_jobs(limit: int, as_json: bool, **filters: Any) -> None:
    """List the newest jobs."""
    with connected() as client:
        found = islice(client.jobs.list(**filters), limit)
        print_list(found, as_json, ("job", *COLUMNS), _row)


@job.command(epilog=example("perennial job show job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def show(job: str, as_json: bool) -> None:
    """Show a job."""
    with connected() as client:
        tell(client.jobs.get(job), as_json, _print_job)


@job.command(epilog=example("perennial job cancel job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def cancel(job: str, as_json: bool) -> None:
    """Cancel a job.

    A queued one ends at once, a running one at its next step.
    """
    with connected() as client:
        tell(client.jobs.cancel(job), as_json, _print_job)


@job.command(epilog=example("perennial job retry job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@json_option
def retry(job: str, as_json: bool) -> None:
    """Order a job that failed or was cancelled again, as a new job."""
    with connected() as client:
        tell(client.jobs.retry(job), as_json, _print_job)


def _row(job: JobSummary) -> tuple[str | None, ...]:
    done = job["progress"]
    step = f"{done['step']}/{done['total']}" if done["total"] else ""
    verdict = (job["result"] or {}).get("verdict")
    at = job["created_at"][:19]
    return job["id"], job["type"], job["model"], job["status"], job["phase"], step, verdict, at


def _print_job(job: Job) -> None:
    error, result = job["error"] or {}, job["result"] or {}
    print_fields(
        [
            *zip(("id", *COLUMNS), _row(job), strict=True),
            ("version", result.get("version")),
            ("error", error.get("message")),
            ("retry of", job["retry_of"]),
        ]
    )


# `perennial watch`: a job's events as they happen.


@click.command(epilog=example("perennial watch job_01a218fa32962d6d06d5fb2d0534"))
@click.argument("job")
@click.option("--after", type=int, metavar="EVENT", help="Only events after this one (--json).")
@gate_option
@json_option
def watch(job: str, after: int | None, fail_on_gate: bool, as_json: bool) -> None:
    """Follow a job until it ends, and print what it came to.

    With --json, its events are printed instead, one a line, each when it happens. The job goes on
    when the command is interrupted, and a broken connection is made again.
    """
    with connected() as client:
        if as_json:
            print_json_lines(client.jobs.watch(job, after=after))
            found = ended(client, job)
        else:
            found = follow(client, job)
            tell_end(client, found)
    if fail_on_gate:
        require_passed(found)


job.add_command(watch)

VERBS = (model, teach, convert, advise, job, watch)
