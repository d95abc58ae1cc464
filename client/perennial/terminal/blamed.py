"""Printing the report of a blame."""

import click

from perennial.terminal.output import percent, points, print_table
from perennial.types.evaluation.blames import BlameReport


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
