"""`perennial report`: what a version learned and forgot, and what the gate says of it."""

from pathlib import Path

import click

from perennial.terminal.arguments import NEW_FILE, example
from perennial.terminal.output import (
    json_option,
    measure_name,
    percent,
    points,
    print_json,
    print_table,
)
from perennial.terminal.session import connected
from perennial.types.evaluation.reports import Report

WORST = 10  # classes shown


@click.command(epilog=example("perennial report demo 2", "perennial report demo 2 --html 2.html"))
@click.argument("model")
@click.argument("version", type=int)
@click.option("--html", type=NEW_FILE, metavar="FILE", help="Write the report as a page instead.")
@json_option
def report(model: str, version: int, html: Path | None, as_json: bool) -> None:
    """Show what a version learned and forgot, and the verdict."""
    with connected() as client:
        if html is not None:
            html.write_text(client.versions.report_page(model, version), "utf-8")
            if not as_json:
                click.echo(f"{html}: the report as a page.")
                return
        found = client.versions.report(model, version)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: Report) -> None:
    click.echo(f"{found['model']}: version {found['version']}, gate: {found['verdict']}")
    for reason in found["reasons"]:
        click.echo(f"- {reason}")
    print_table(
        ("measure", "of", "against", "before, %", "now, %", "change", "interval", "allowed", ""),
        [
            (
                measure_name(one["kind"], one.get("formerly_right", False)),
                one["name"],
                one["baseline"],
                percent(one["right_before"], one["count"]),
                percent(one["right"], one["count"]),
                points(one["difference"]),
                f"{points(one['lower'])} to {points(one['upper'])}",
                points(-one["tolerance"]),
                one["outcome"],
            )
            for one in found["measures"]
        ],
    )
    fallen = [
        (table["name"], table["baseline"], change)
        for table in found["changes"]
        for change in table["classes"]
        if change["difference"] < 0
    ]
    fallen.sort(key=lambda row: row[2]["difference"])
    if fallen:
        print_table(
            ("class", "of", "against", "right before", "right now", "images", "change"),
            [
                (
                    change["class_name"],
                    name,
                    baseline,
                    change["right_before"],
                    change["right"],
                    change["images"],
                    points(change["difference"]),
                )
                for name, baseline, change in fallen[:WORST]
            ],
            title=f"Classes that fell most, {min(WORST, len(fallen))} of {len(fallen)}",
        )
