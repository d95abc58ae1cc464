"""`perennial classify`: images, by a version or by what an alias points at."""

from collections.abc import Iterator
from pathlib import Path

import click

from perennial.terminal.arguments import FILE, example
from perennial.terminal.output import json_option, note, percent, print_json, print_table
from perennial.terminal.session import connected
from perennial.types.classify import ImageAnswer, NoneOfThese


@click.command(
    epilog=example(
        "perennial classify demo bag.webp",
        "perennial classify demo:2 *.webp -c bag -c sandal",
        "perennial classify demo *.webp --none-of-these",
    )
)
@click.argument("reference")
@click.argument("images", nargs=-1, required=True, type=FILE)
@click.option(
    "--class",
    "-c",
    "classes",
    multiple=True,
    help="Class to choose from, may be repeated (default: all that the version has learned).",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="Prompt template with one {name}; of several, the mean of their vectors is used.",
)
@click.option("--top-k", type=int, help="How many classes to return for each image.")
@click.option(
    "--none-of-these",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    is_flag=False,
    flag_value=0.05,
    metavar="[RATE]",
    help="Mark images that show none of the classes, at this false-rejection rate (0.05).",
)
@click.option("--expect-digest", metavar="SHA256", help="Fail unless the version has this digest.")
@json_option
def classify(
    reference: str,
    images: tuple[Path, ...],
    classes: tuple[str, ...],
    prompts: tuple[str, ...],
    top_k: int | None,
    none_of_these: float | None,
    expect_digest: str | None,
    as_json: bool,
) -> None:
    """Classify images with a version.

    REFERENCE is a model, or name@alias, name:7 or name@sha256:...
    """
    with connected() as client:
        found = client.classify(
            reference,
            images,
            classes or None,
            prompts=prompts or None,
            top_k=top_k,
            none_of_these=none_of_these,
            expect_digest=expect_digest,
        )
    if as_json:
        print_json(found)
        return
    answers = list(zip(images, found["data"], strict=True))
    for image, answer in answers:
        if error := answer.get("error"):
            note(f"{image}: {error['detail']}")
    print_table(
        ("file", "class", "probability, %"),
        [row for image, answer in answers for row in _rows(image, answer)],
        title=f"{found['model']}: version {found['version']}",
    )
    if threshold := found.get("none_of_these"):
        note(_told(threshold))


def _rows(image: Path, answer: ImageAnswer) -> Iterator[tuple[str, str, str]]:
    if answer.get("none_of_these"):
        yield str(image), "none of these", ""
        return
    for one in answer["predictions"]:
        yield str(image), one["class"], percent(one["probability"])


def _told(found: NoneOfThese) -> str:
    """Return how often the threshold errs."""
    rejected, accepted = found["false_rejection"], found["false_acceptance"]
    told = (
        f"On test images ({found['source']}; {found['list_size']} classes listed), "
        f"the threshold rejects {percent(rejected['rate'])} % of those of a listed class and "
        f"accepts {percent(accepted['rate'])} % of the others."
    )
    return told if found["covered"] else f"{told} Measured with other classes or another prompt."
