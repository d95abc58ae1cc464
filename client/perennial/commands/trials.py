"""`perennial trial`: a second version behind an alias, before it is promoted."""

import csv
from itertools import islice
from pathlib import Path
from typing import Any

import click

from perennial.client import Client
from perennial.terminal.arguments import (
    FILE,
    NEW_FILE,
    NEW_FOLDER,
    alias_option,
    example,
    find_version,
    trial_option,
    version_argument,
)
from perennial.terminal.output import json_option, note, print_json, print_list, print_table, tell
from perennial.terminal.session import connected
from perennial.types import ArmCounts, Sample, ShadowCounts, Trial, TrialMode, TrialReport

reason_option = click.option("--reason", help="Reason, kept in the audit event.")


@click.group()
def trial() -> None:
    """Try a version beside the one that an alias points at."""


@trial.command(
    epilog=example(
        "perennial trial start demo:3 --shadow",
        "perennial trial start demo:3 --canary 0.1",
    )
)
@version_argument(bare=False)
@alias_option
@click.option("--shadow", is_flag=True, help="Ask it after the live version; callers never see it.")
@click.option(
    "--canary", type=float, metavar="SHARE", help="Let it answer this share, at most 0.5."
)
@reason_option
@json_option
def start(named: str, shadow: bool, canary: float | None, as_json: bool, **options: Any) -> None:
    """Start a trial, as a shadow or as a canary."""
    if shadow is (canary is not None):
        raise click.UsageError("Give either --shadow or --canary SHARE.")
    mode: TrialMode = "shadow" if shadow else "canary"
    with connected() as client:
        model, version = find_version(client, named)
        started = client.trials.start(model, version, mode=mode, share=canary, **options)
    tell(started, as_json, f"{_name(started)}: {_what(started)} runs as {started['id']}.")


@trial.command(epilog=example("perennial trial show demo"))
@click.argument("model")
@alias_option
@trial_option
@json_option
def show(model: str, alias: str, trial: str, as_json: bool) -> None:
    """Show what a trial's answers and labels say so far."""
    with connected() as client:
        report = client.trials.get(model, trial, alias=alias)
    if as_json:
        print_json(report)
        return
    ended = f", {report['end']}" if report["end"] else ""
    click.echo(f"{_name(report)}: {_what(report)}{ended}: {_verdict(report)}.")
    shadow = report["counts"]["shadow"]
    print_table(
        ("version", "answers", "labelled", "right", "accuracy, %")
        if shadow is None
        else ("version", "answers", "right if agreed", "if disagreed", "accuracy, %"),
        [
            _row(report["current"], "current", report["counts"]["current"], shadow),
            _row(report["candidate"], "candidate", report["counts"]["candidate"], shadow),
        ],
    )
    if shadow is not None:
        labelled, gained, lost = (shadow[name] for name in ("labelled_disagreed", "gained", "lost"))
        click.echo(
            f"They agreed on {shadow['agreed']:,} images and disagreed on "
            f"{shadow['disagreed']:,}; {shadow['dropped']:,} were dropped and "
            f"{shadow['failed']:,} failed. Of {labelled:,} labelled disagreements the candidate "
            f"alone was right in {gained:,}, the current version alone in {lost:,}, neither in "
            f"{labelled - gained - lost:,}."
        )
    if report["counts"]["same_caller"]:
        click.echo(
            f"{report['counts']['same_caller']:,} further labels do not count: of each routing "
            "key or request one does."
        )


@trial.command("list", epilog=example("perennial trial list demo"))
@click.argument("model")
@alias_option
@json_option
def list_trials(model: str, alias: str, as_json: bool) -> None:
    """List the trials of an alias, oldest first."""
    with connected() as client:
        print_list(
            client.trials.list(model, alias=alias),
            as_json,
            ("trial", "what", "started", "by", "end"),
            lambda one: (
                one["id"],
                _what(one),
                one["started_at"][:19],
                one["started_by"],
                one["end"] or "runs",
            ),
        )


@trial.command(epilog=example("perennial trial stop demo --reason 'confuses bags and sandals'"))
@click.argument("model")
@alias_option
@trial_option
@reason_option
@json_option
def stop(model: str, alias: str, trial: str, reason: str | None, as_json: bool) -> None:
    """Stop a trial; the alias points where it did."""
    with connected() as client:
        stopped = client.trials.stop(model, trial, alias=alias, reason=reason)
    tell(stopped, as_json, f"{_name(stopped)}: {_what(stopped)} has stopped.")


COLUMNS = ("prediction", "label", "current", "candidate", "image")


@trial.command(
    "to-label",
    epilog=example(
        "perennial trial to-label demo",
        "perennial trial to-label demo --limit 75 --output labels.csv",
    ),
)
@click.argument("model")
@alias_option
@trial_option
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@click.option(
    "--output",
    type=NEW_FILE,
    metavar="FILE",
    help="Write them as CSV, to be completed and sent with `perennial trial label`.",
)
@json_option
def to_label(
    model: str, alias: str, trial: str, limit: int, output: Path | None, as_json: bool
) -> None:
    """List disagreements of a shadow that have no label.

    Their order is random: label them from the first one on, and leave none out because of its
    answers. Where two versions agree, labels tell nothing about which is better.
    """
    with connected() as client:
        found = list(islice(client.trials.to_label(model, trial, alias=alias), limit))
    if output is not None:
        with output.open("x", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(COLUMNS)
            for one in found:
                row = (one["prediction"], "", one["current"], one["candidate"], one["pixels"])
                writer.writerow(row)
        note(f"{output}: {len(found):,} disagreements.")
        return
    print_list(
        found,
        as_json,
        ("prediction", "current says", "candidate says", "at", "sample"),
        lambda one: (
            one["prediction"],
            one["current"],
            one["candidate"],
            one["at"][:19],
            (one["pixels"] or "")[:12],
        ),
    )


@trial.command(epilog=example("perennial trial label labels.csv"))
@click.argument("file", type=FILE)
@json_option
def label(file: Path, as_json: bool) -> None:
    """Send the right classes of predictions back.

    FILE is a CSV file of predictions and classes. What `perennial trial to-label` writes is one
    too; its rows without a label are left out.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    if rows and rows[0][:2] == list(COLUMNS[:2]):
        rows = [row[:2] for row in rows[1:] if "".join(row[1:2]).strip()]
    if any(len(row) != 2 for row in rows):
        raise click.UsageError(f"{file}: each line holds a prediction and a class.")
    if not rows:
        raise click.UsageError(f"{file}: no line has a label.")
    with connected() as client:
        receipts = client.trials.label((row[0], row[1]) for row in rows)
    if as_json:
        print_json(receipts)
        return
    for one in receipts:
        if one["error"]:
            note(f"{one['prediction']}: {one['error']['code']}: {one['error']['detail']}")
    counts = [one["status"] for one in receipts]
    known = counts.count("same_caller")
    click.echo(
        f"{counts.count('counted'):,} counted, {counts.count('waiting'):,} waiting, "
        f"{counts.count('repeated'):,} repeated, {counts.count(None):,} refused."
        + (f" {known:,} do not count: of each caller one label does." if known else "")
    )


def _name(trial: Trial) -> str:
    return f"{trial['model']}@{trial['alias']}"


def _what(trial: Trial) -> str:
    share = f" of {100 * trial['share']:g} %" if trial["share"] is not None else ""
    return f"version {trial['candidate']} as a {trial['mode']}{share} beside {trial['current']}"


def _verdict(report: TrialReport) -> str:
    found = report["difference"]
    lower, upper = 100 * found["lower"], 100 * found["upper"]
    if found["estimate"] is None:
        if report["mode"] == "canary":
            return "undecided, without labels of both"
        return f"undecided without a labelled disagreement: at most {upper:.1f} points apart"
    return (
        f"{report['verdict']}, by {100 * found['estimate']:+.1f} points "
        f"(always-valid interval {lower:+.1f} to {upper:+.1f})"
    )


def _row(number: int, name: str, arm: ArmCounts, shadow: ShadowCounts | None) -> tuple[str, ...]:
    accuracy = "" if arm["accuracy"] is None else f"{100 * arm['accuracy']:.1f}"
    answers = (f"{number} ({name})", f"{arm['answered']:,}")
    if shadow is None:
        return *answers, f"{arm['labelled']:,}", f"{arm['right']:,}", accuracy
    disagreed, alone = (
        shadow["labelled_disagreed"],
        shadow["gained" if name == "candidate" else "lost"],
    )
    agreed, right = arm["labelled"] - disagreed, arm["right"] - alone
    return *answers, f"{right:,} of {agreed:,}", f"{alone:,} of {disagreed:,}", accuracy


# `perennial trial samples` and `delete-samples`: images about which two versions disagree.


@click.command(
    epilog=example(
        "perennial trial samples demo",
        "perennial trial samples demo --output ./disagreements",
    )
)
@click.argument("model")
@alias_option
@trial_option
@click.option(
    "--output", type=NEW_FOLDER, metavar="FOLDER", help="Save the images there: <pixels>.webp."
)
@json_option
def samples(model: str, alias: str, trial: str, output: Path | None, as_json: bool) -> None:
    """List images about which a shadow disagrees.

    A service keeps some only if it is set up to.
    """
    with connected() as client:
        # Another trial may begin at any moment, and be the latest.
        trial = client.trials.get(model, trial, alias=alias)["id"]
        found = list(client.trials.samples(model, trial, alias=alias))
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            for one in found:
                _save(client, model, alias, trial, one, output)
            note(f"{output}: {len(found):,} images.")
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
    """Delete the samples of a trial.

    Its counts stay, and no others are kept in their place.
    """
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


trial.add_command(samples)
trial.add_command(delete_samples)


VERBS = (trial,)
