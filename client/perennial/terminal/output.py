"""Output on the terminal: JSON, tables, reports and progress."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from perennial.types import Alias, BlameReport, Event, Ruling

# The output of commands: JSON for programs, tables for people.

WIDE = 200  # columns where no terminal sets a width

Cell = str | int | None

T = TypeVar("T")

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON to standard output, and nothing else."
)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def tell(value: T, as_json: bool, told: str | Callable[[T], object]) -> None:
    """Print a value as JSON or, for people, a text or what a function prints of it."""
    if as_json:
        print_json(value)
    elif isinstance(told, str):
        click.echo(told)
    else:
        told(value)


OUTCOMES = ("created", "duplicate", "label_conflict", "rejected")


def told_counts(counts: Mapping[str, int]) -> str:
    """Return how many files had each outcome, in words."""
    return ", ".join(f"{counts.get(outcome, 0)} {outcome}" for outcome in OUTCOMES)


def told_alias(alias: Alias) -> str:
    """Return where an alias points, in words."""
    return (
        f"{alias['model']}@{alias['alias']} is version {alias['version']} "
        f"(revision {alias['revision']})."
    )


def print_json_lines(values: Iterable[Any]) -> None:
    """Print a line of JSON for each value, as they come."""
    for value in values:
        click.echo(json.dumps(value, ensure_ascii=False))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, title: str | None = None
) -> None:
    """Print a table; numbers, also as text, stand to the right."""
    found = [list(row) for row in rows]
    if title:
        click.echo(title)
    table = Table()
    for index, name in enumerate(columns):
        right = bool(found) and all(_is_number(row[index]) for row in found)
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in found:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console().print(table)


def print_list(
    items: Iterable[T], as_json: bool, columns: Sequence[str], row: Callable[[T], Sequence[Cell]]
) -> None:
    """Print items as a table, of which `row` returns the cells of one, or as lines of JSON."""
    if as_json:
        print_json_lines(items)
    else:
        print_table(columns, map(row, items))


def print_fields(fields: Iterable[tuple[str, Cell]]) -> None:
    """Print names and values below each other, except what there is not."""
    found = [(name, str(value)) for name, value in fields if value not in {None, ""}]
    width = max(len(name) for name, _ in found)
    for name, value in found:
        click.echo(f"{name:<{width}}  {value}")


def warn_of_live(model: str, version: int, aliases: str, next_step: str) -> None:
    """Print in red that a live version learned from erased images, and what to do."""
    told = f"{model}:{version} learned from erased images and still answers as {aliases}."
    click.secho(f"{told} {next_step}", fg="red")


def note(text: str) -> None:
    """Print a line to standard error."""
    click.echo(text, err=True)


def console(*, err: bool = False) -> Console:
    """Return a console that prints text as it is."""
    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(stderr=err, highlight=False, markup=False, emoji=False, width=width)


def percent(part: float, whole: float = 1) -> str:
    """Return a part as a percentage with one decimal; of nothing, there is none."""
    return f"{100 * part / whole:.1f}" if whole else ""


def points(change: float) -> str:
    """Return a difference of fractions of 1 in points, with its sign."""
    return f"{100 * change:+.1f}"


MEASURES = {
    "zero_shot": "suite",
    "image_to_text": "captions of images",
    "text_to_image": "images of captions",
    "holdout": "earlier update",
    "holdouts": "earlier updates",
    "gain": "own update",
}


CAPTIONS = {"image_to_text", "text_to_image"}

LISTS = {
    "union": ", all classes",
    "with_suites": ", with suites' classes",
    "default": ", by default",
    "learned": ", learned alone",
}


def measure_name(
    kind: str,
    formerly_right: bool,
    asked: str = "own",
    own_prompts: bool = False,
    *,
    depth: int = 1,
) -> str:
    """Return the name of a measure: its kind, and which classes, prompts and answers count."""
    longer = ", among all" if kind in CAPTIONS else LISTS.get(asked, "")
    name = MEASURES.get(kind, kind) + (longer if asked in LISTS else "")
    name += f", first {depth}" if depth > 1 else ""
    name += ", own prompts" if own_prompts else ""
    return f"{name}{', formerly right' if formerly_right else ''}"


def measure_of(one: Ruling) -> str:
    """Return the name of a measure of a report."""
    return measure_name(
        one["kind"], one["formerly_right"], one["asked"], one["own_prompts"], depth=one["depth"]
    )


def accuracies(one: Ruling) -> tuple[str, str]:
    """Return the accuracies before and now; of an unlabelled suite, how much is labelled."""
    if (known := one["disagreements"]) is not None:
        return f"{known['labelled']} of {known['total']}", "labelled"
    return percent(one["right_before"], one["count"]), percent(one["right"], one["count"])


def _is_number(cell: Cell) -> bool:
    return not cell or isinstance(cell, int) or cell.lstrip("+-−").replace(".", "").isdecimal()


# Printing the report of a blame.


def print_blame(report: BlameReport) -> None:
    """Print a table for each class, with the group to blame most first."""
    images = {group["group"]: group["images"] for group in report["groups"]}
    for blamed in report["classes"]:
        tested = blamed["images"]
        print_table(
            ("group", "name", "images", "right, %", "without it, %", "change", "interval"),
            [
                (
                    one["group"],
                    one["name"],
                    images[one["group"]],
                    percent(one["right_before"], tested),
                    percent(one["right"], tested),
                    points(one["difference"]),
                    f"{points(one['lower'])} to {points(one['upper'])}",
                )
                for one in blamed["groups"]
            ],
            title=f"{blamed['class']}, {tested} test images",
        )
        click.echo(blamed["summary"])


# Progress on standard error: bars on a terminal, a line for each phase elsewhere.


@contextmanager
def bytes_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many bytes of how many have been sent or received."""
    with _bar(DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def count_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many more of `total` are done."""
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda more: bar.advance(task, more)


@contextmanager
def steps_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many of how many are done."""
    with _bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def job_bar() -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows the phase and the step of a job that an event names."""
    present = ""
    with _bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("waiting for a worker", total=None)

        def show(event: Event) -> None:
            nonlocal present
            data = event["data"]
            if "explanation" in data:  # of a slow precision, or of a result that is not exact
                bar.console.print(data["explanation"])
            phase = str(data.get("phase", ""))
            if phase and phase != present:
                present = phase
                if bar.disable:
                    note(f"{phase} ...")
                bar.reset(task, description=phase, total=None)
            if "step" in data:
                bar.update(task, completed=data["step"], total=data.get("total") or None)

        yield show


def _bar(*columns: ProgressColumn) -> Progress:
    """Return a bar with a description, which is shown on a terminal alone and then vanishes."""
    shown = console(err=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        console=shown,
        transient=True,
        disable=not shown.is_terminal,
    )
