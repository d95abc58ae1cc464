"""`perennial report`, `evaluate`, `compare` and `blame`."""

from pathlib import Path
from typing import Any, get_args

import click

from perennial.terminal.arguments import (
    NEW_FILE,
    alias_option,
    example,
    find_version,
    gate_option,
    version_argument,
    wait_option,
)
from perennial.terminal.output import (
    LISTS,
    accuracies,
    json_option,
    measure_name,
    measure_of,
    percent,
    points,
    print_blame,
    print_list,
    print_table,
    tell,
)
from perennial.terminal.session import (
    connected,
    follow,
    print_verdict,
    require_passed,
    tell_job,
    tell_ordered,
)
from perennial.types import Comparison, Grouping, Report

# `perennial report`: what a version learned and forgot, and what the gate says of it.

WORST = 10  # classes shown
FEWEST = 10  # test images of a class that is shown, as on the page


@click.command(
    epilog=example("perennial report demo:2", "perennial report demo:2 --output report.html")
)
@version_argument()
@click.option(
    "--job", help="The evaluation to show, from `verdicts` (default: that of the verdict)."
)
@click.option("--output", type=NEW_FILE, metavar="FILE", help="Write the report as a page instead.")
@json_option
def report(named: str, job: str | None, output: Path | None, as_json: bool) -> None:
    """Show what a version learned and forgot, and the verdict."""
    with connected() as client:
        model, version = find_version(client, named)
        if output is not None:
            output.write_text(client.versions.report_page(model, version, job=job), "utf-8")
            if not as_json:
                click.echo(f"{output}: the report as a page.")
                return
        found = client.versions.report(model, version, job=job)
    tell(found, as_json, _print_report)


def _print_report(found: Report) -> None:
    print_verdict(found)
    if found["exact"] is False:
        machines = (machine.get("device", "unknown") for machine in found["environments"])
        click.echo(f"- not exact: trained on several machines, in order {'; '.join(machines)}")
    print_table(
        (
            "measure",
            "of",
            "against",
            "before, %",
            "now, %",
            "change",
            "interval",
            "decided by",
            "allowed",
            "outcome",
        ),
        [
            (
                measure_of(one),
                one["name"],
                one["baseline"],
                *accuracies(one),
                points(one["difference"]),
                f"{points(one['interval_lower'])} to {points(one['upper'])}",
                points(one["lower"]),
                points(-one["tolerance"]),
                one["outcome"],
            )
            for one in found["measures"]
        ],
    )
    for name in found["unlabelled"]:
        click.echo(
            f"{name} is labelled only where versions disagree: that shows how far they are apart, "
            "and nothing else, such as accuracy or losses of single classes."
        )
    _print_taken(found)
    lost = [
        (table["name"], table["baseline"], change)
        for table in found["changes"]
        for change in table["classes"]
        if change["difference"] < 0
    ]
    fallen = [row for row in lost if row[2]["images"] >= FEWEST]
    fallen.sort(key=lambda row: row[2]["right"] - row[2]["right_before"])
    if fallen:
        print_table(
            ("class", "of", "against", "right before", "right now", "images"),
            [
                (
                    change["class_name"],
                    name,
                    baseline,
                    change["right_before"],
                    change["right"],
                    change["images"],
                )
                for name, baseline, change in fallen[:WORST]
            ],
            title=f"Classes that lost most images, {min(WORST, len(fallen))} of {len(fallen)}",
        )
    if few := len(lost) - len(fallen):
        classes = "1 more class" if few == 1 else f"{few} more classes"
        click.echo(
            f"{classes} with fewer than {FEWEST} images lost some: --output writes a page with "
            f"{'it' if few == 1 else 'them'}."
        )


def _print_taken(found: Report) -> None:
    """Print which classes took the answers that were lost among all classes."""
    rows = sorted(found["taken"], key=lambda row: -row["images"])
    if rows:
        print_table(
            ("of", "against", "class", "answered now", "images", "of lost"),
            [
                (
                    row["name"] + LISTS.get(row["asked"], ""),
                    row["baseline"],
                    row["class_name"],
                    row["answered"],
                    row["images"],
                    row["lost"],
                )
                for row in rows[:WORST]
            ],
            title=f"Classes that took lost answers, {min(WORST, len(rows))} of {len(rows)}",
        )
    pairs = dict.fromkeys(
        (row["class_name"], row["answered"]) for row in rows if row["may_be_same"]
    )
    for name, answered in pairs:
        click.echo(
            f"If {name!r} and {answered!r} mean the same, name the pair in the policy's "
            "same_names: an answer of one then counts for the other."
        )


# `perennial verdicts`: what each verdict on a version covers.


@click.command(epilog=example("perennial verdicts demo:3"))
@version_argument()
@json_option
def verdicts(named: str, as_json: bool) -> None:
    """List the verdicts on a version, and what each covers.

    That is beside which version, under which policy, by which suites, and which updates it was
    asked about though it lacks them.
    """
    with connected() as client:
        model, version = find_version(client, named)
        print_list(
            client.versions.verdicts(model, version),
            as_json,
            ("beside", "verdict", "policy", "suites", "updates", "images", "counts", "job", "at"),
            lambda one: (
                one["beside"],
                one["verdict"],
                one["policy"],
                ", ".join(one["suites"]),
                ", ".join(map(str, one["updates"])),
                one["images"],
                "yes" if one["in_force"] else "no",
                one["job"],
                one["at"][:19],
            ),
        )


# `perennial evaluate`: score a version again, or an imported one for the first time.


@click.command(epilog=example("perennial evaluate demo:3 --wait --fail-on-gate"))
@version_argument()
@alias_option
@wait_option
@gate_option
@json_option
def evaluate(named: str, alias: str, wait: bool, fail_on_gate: bool, as_json: bool) -> None:
    """Score a version on the model's suites, by the model's policy, as both are now.

    It is also compared with what the alias points to.
    """
    if fail_on_gate and not wait:
        raise click.UsageError("--fail-on-gate needs --wait.")
    with connected() as client:
        model, version = find_version(client, named)
        job = client.jobs.order_evaluation(model=model, version=version, alias=alias)
        job = tell_job(client, job, wait, as_json)
    if fail_on_gate:
        require_passed(job)


# `perennial compare`: two versions by their answers to the same images.

SHOWN = 10  # confusions


@click.command(epilog=example("perennial compare demo:1 demo:2"))
@version_argument("MODEL:BEFORE MODEL:NOW", count=2, bare=False)
@json_option
def compare(named: tuple[str, str], as_json: bool) -> None:
    """Compare version NOW with BEFORE, image by image."""
    with connected() as client:
        (model, before), (other, now) = (find_version(client, one) for one in named)
        if other != model:
            raise click.UsageError("Versions of one model can be compared.")
        found = client.versions.compare(model, before, now)
    tell(found, as_json, _print_comparison)


def _print_comparison(found: Comparison) -> None:
    click.echo(
        f"{found['model']}: version {found['now']['version']} against "
        f"{found['before']['version']}: {found['lost']} answers lost, {found['gained']} gained"
    )
    print_table(
        ("measure", "of", "before, %", "now, %", "lost", "gained", "change", "interval"),
        [
            (
                measure_name(one["kind"], one["formerly_right"], depth=one["depth"]),
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
    if found["fallen"]:
        print_table(
            ("of", "image", "caption", "rank before", "rank now"),
            [
                (
                    one["suite"],
                    one["pixels"][:12],
                    one["caption"] or "-",
                    (one["rank_before"] or 0) + 1,
                    (one["rank_now"] or 0) + 1,
                )
                for one in found["fallen"]
            ],
            title="Fell furthest: images that look for a caption (-), captions for their image",
        )
    for left in found["left_out"]:
        click.echo(f"Left out: version {left['version']} has not been scored on {left['name']}.")


# `perennial blame`: which images of an update cost a class its accuracy.


@click.command(epilog=example("perennial blame demo:2 --class 'ankle boot' --wait"))
@version_argument()
@click.option(
    "--class", "class_name", help="The class (default: each that fell from the version's parent)."
)
@click.option(
    "--by",
    type=click.Choice(get_args(Grouping)),
    help="What the images of a group have in common (default: upload).",
)
@click.option("--groups", type=int, metavar="N", help="At most this many groups (default: 5).")
@click.option("--suite", help="Use only this suite, or 'version 2' for its holdout.")
@wait_option
@json_option
def blame(named: str, wait: bool, as_json: bool, **order: Any) -> None:
    """Find which images of a version's update cost a class its accuracy.

    Orders a job that trains the update again without each group of its images. With --wait, follows
    it and prints what each group changed; `perennial watch` prints that too.
    """
    with connected() as client:
        model, version = find_version(client, named)
        job = client.jobs.order_blame(model=model, version=version, **order)
        if not wait:
            tell_ordered(job, as_json)
            return
        job = follow(client, job["id"])
        tell(client.jobs.blame(job["id"]), as_json, print_blame)


VERBS = (report, verdicts, evaluate, compare, blame)
