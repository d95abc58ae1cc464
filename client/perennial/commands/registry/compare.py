"""`perennial compare`: two versions by their answers to the same images."""

import click

from perennial.terminal.arguments import example
from perennial.terminal.output import (
    json_option,
    measure_name,
    percent,
    points,
    print_json,
    print_table,
)
from perennial.terminal.session import connected
from perennial.types.evaluation.comparisons import Comparison

SHOWN = 10  # confusions


@click.command(epilog=example("perennial compare demo 1 2"))
@click.argument("model")
@click.argument("before", type=int)
@click.argument("now", type=int)
@json_option
def compare(model: str, before: int, now: int, as_json: bool) -> None:
    """Compare version NOW with BEFORE, image by image."""
    with connected() as client:
        found = client.versions.compare(model, before, now)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: Comparison) -> None:
    click.echo(
        f"{found['model']}: version {found['now']['version']} against "
        f"{found['before']['version']}: {found['lost']} images lost, {found['gained']} gained"
    )
    print_table(
        ("measure", "of", "before, %", "now, %", "lost", "gained", "change", "interval"),
        [
            (
                measure_name(one["kind"], one["formerly_right"]),
                one["name"],
                percent(one["right_before"], one["count"]),
                percent(one["right"], one["count"]),
                one["lost"],
                one["gained"],
                points(one["difference"]),
                f"{points(one['lower'])} to {points(one['upper'])}",
            )
            for one in found["measures"]
        ],
    )
    cells = [(table["name"], cell) for table in found["confusions"] for cell in table["cells"]]
    cells.sort(key=lambda row: -abs(row[1]["change"]))
    if cells:
        print_table(
            ("of", "class", "answered", "before", "now", "change"),
            [
                (
                    name,
                    cell["class"],
                    cell["predicted"],
                    cell["before"],
                    cell["now"],
                    f"{cell['change']:+}",
                )
                for name, cell in cells[:SHOWN]
            ],
            title=f"Answers that changed most, {min(SHOWN, len(cells))} of {len(cells)}",
        )
    for left in found["left_out"]:
        click.echo(f"Left out: version {left['version']} has not been scored on {left['name']}.")
