"""`perennial erase` and `perennial certificate`: take images back."""

import re
from typing import get_args

import click

from perennial.terminal.arguments import example
from perennial.terminal.output import json_option, print_fields, print_json, print_table
from perennial.terminal.session import connected
from perennial.types.erasures import Retraining

_DIGEST = re.compile(r"[0-9a-f]{64}")


def _digests(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _DIGEST.fullmatch(value):
            raise click.BadParameter(f"{value} is not 64 hexadecimal digits")
    return values


@click.command(epilog=example("perennial erase 9f86d081884c7d65... --reason 'asked for by mail'"))
@click.argument("images", nargs=-1, required=True, callback=_digests)
@click.option("--reason", required=True, help="Reason, kept in the certificate.")
@click.option(
    "--retrain",
    type=click.Choice(get_args(Retraining)),
    default="all",
    show_default=True,
    help="Marked versions to train again; aliased: those of live lines.",
)
@json_option
def erase(images: tuple[str, ...], reason: str, retrain: Retraining, as_json: bool) -> None:
    """Erase images from all that holds them or has learned from them.

    IMAGES are the digests of their pixels. Marks the versions that learned from them, and trains
    those again without them.
    """
    with connected() as client:
        ordered = client.erasures.order(images, reason=reason, retrain=retrain)
    if as_json:
        print_json(ordered)
        return
    click.echo(f"Ordered: {ordered['id']}, job {ordered['job']}.")
    click.echo(f"`perennial certificate {ordered['id']}` shows what was taken back, when it is.")


@click.command(epilog=example("perennial certificate era_01a218fa32962d6d06d5fb2d0534"))
@click.argument("erasure")
@json_option
def certificate(erasure: str, as_json: bool) -> None:
    """Show what an erasure has taken back, and what it cannot reach."""
    with connected() as client:
        found = client.erasures.certificate(erasure)
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("erasure", found["erasure"]),
            ("status", found["status"]),
            ("reason", found["reason"]),
            ("ordered", f"{found['ordered_at'][:19]} by {found['ordered_by']}"),
            ("erased", found["erased_at"][:19]),
            *(("image", one["pixels"]) for one in found["images"]),
        ]
    )
    rows = [
        (one["model"], one["version"], one["learned"], one["replaced_by"], one["obstacle"])
        for one in found["versions"]
    ]
    print_table(("model", "version", "learned", "replaced by", "obstacle"), rows)
    remains = [(one["where"], one["what"]) for one in found["remains"]]
    print_table(("where copies may remain", "what"), remains)
