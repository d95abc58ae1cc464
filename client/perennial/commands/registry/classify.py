"""`perennial classify`: images, by a version or by what an alias points at."""

from pathlib import Path

import click

from perennial.terminal.arguments import FILE, example
from perennial.terminal.output import json_option, note, percent, print_json, print_table
from perennial.terminal.session import connected


@click.command(
    epilog=example(
        "perennial classify demo bag.webp", "perennial classify demo:2 *.webp -c bag -c sandal"
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
@click.option("--top-k", type=int, help="How many classes to answer for each image.")
@click.option("--expect-digest", metavar="SHA256", help="Refuse if it is another version.")
@json_option
def classify(
    reference: str,
    images: tuple[Path, ...],
    classes: tuple[str, ...],
    prompts: tuple[str, ...],
    top_k: int | None,
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
        [
            (str(image), one["class"], percent(one["probability"]))
            for image, answer in answers
            for one in answer["predictions"]
        ],
        title=f"{found['model']}: version {found['version']}",
    )
