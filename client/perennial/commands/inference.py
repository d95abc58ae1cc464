"""`perennial classify`, `embed`, `reembed` and `compatibility`."""

import base64
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from perennial.client import Client
from perennial.commands.exports import NEW_PLACE, require_absent
from perennial.terminal.arguments import (
    FILE,
    NEW_FILE,
    example,
    find_dataset_version,
    find_version,
    number_of,
    wait_option,
)
from perennial.terminal.output import (
    bytes_bar,
    json_option,
    note,
    percent,
    points,
    print_json,
    print_json_lines,
    print_table,
    tell,
)
from perennial.terminal.session import Failure, connected, follow, tell_ordered
from perennial.types import Compatibility, Embed, ImageAnswer, InputVector, NoneOfThese

# `perennial classify`: images, by a version or by what an alias points at.


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
    as_json: bool,
    **options: Any,
) -> None:
    """Classify images with a version.

    REFERENCE is a model, or name@alias, name:7 or name@sha256:...
    """
    with connected() as client:
        found = client.classify(
            reference, images, classes or None, prompts=prompts or None, **options
        )
    answers = list(zip(images, found["data"], strict=True))
    if as_json:
        files = [{**answer, "file": str(image)} for image, answer in answers]
        print_json({**found, "data": files})
        return
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


# `perennial embed`: vectors of images or texts, as JSON lines or as a file for NumPy.

AT_ONCE = 256  # images or texts of a request
SHOWN = 4  # values of a vector in the table
MAGIC = b"\x93NUMPY\x01\x00"
ALIGNED = 64  # bytes, to a multiple of which the header is filled up


@click.command(
    epilog=example(
        "perennial embed demo *.webp --output vectors.npy",
        "perennial embed demo:2 --text 'a red bag' --text 'a boot' --json",
    )
)
@click.argument("reference")
@click.argument("images", nargs=-1, type=FILE)
@click.option("--text", "texts", multiple=True, help="Text to embed, may be repeated.")
@click.option(
    "--output",
    type=NEW_FILE,
    metavar="FILE",
    help="Write an array for numpy.load, a float32 row for each input.",
)
@click.option("--expect-digest", metavar="SHA256", help="Fail unless the version has this digest.")
@json_option
def embed(
    reference: str,
    images: tuple[Path, ...],
    texts: tuple[str, ...],
    output: Path | None,
    expect_digest: str | None,
    as_json: bool,
) -> None:
    """Embed images or texts with a version: a vector of length 1 for each.

    With --json, each is a line; the table shows their first values. REFERENCE is a model, or
    name@alias, name:7 or name@sha256:...
    """
    inputs: Sequence[Path | str] = images or texts
    if not inputs or (images and texts):
        raise click.UsageError("give either images or --text")
    with connected() as client:
        answers = list(_answers(client, reference, inputs, expect_digest))
    rows = [row for answer in answers for row in answer["data"]]
    for one, row in zip(inputs, rows, strict=True):
        if error := row.get("error"):
            note(f"{one}: {error['detail']}")
    if output is not None:
        _write(output, rows, answers[0]["width"])
    vectors = [(str(one), _values(row)) for one, row in zip(inputs, rows, strict=True)]
    if as_json:
        print_json_lines({"input": one, "embedding": values} for one, values in vectors)
        return
    found = answers[0]
    print_table(
        ("input", f"first of {found['width']} values"),
        [
            (one, " ".join(f"{value:+.4f}" for value in values[:SHOWN]))
            for one, values in vectors
            if values
        ],
        title=f"{found['model']}: version {found['version']}, digest {found['digest']}",
    )


def _answers(
    client: Client, reference: str, inputs: Sequence[Any], digest: str | None
) -> Iterator[Embed]:
    """Yield the answers to requests, all of one version."""
    kind = "images" if isinstance(inputs[0], Path) else "texts"
    for first in range(0, len(inputs), AT_ONCE):
        asked = {kind: inputs[first : first + AT_ONCE]}
        found = client.embed(reference, **asked, encoding_format="base64", expect_digest=digest)
        digest = found["digest"]
        yield found


def _bytes(row: InputVector) -> bytes:
    return base64.b64decode(str(row["embedding"]))


def _values(row: InputVector) -> list[float] | None:
    if row["embedding"] is None:
        return None
    data = _bytes(row)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _write(output: Path, rows: Sequence[InputVector], width: int) -> None:
    if any(row["embedding"] is None for row in rows):
        raise Failure(f"{output} was not written: leave out the images that cannot be read.")
    output.write_bytes(_npy_header(len(rows), width) + b"".join(map(_bytes, rows)))


def _npy_header(rows: int, width: int) -> bytes:
    """Return the header of NumPy's file format, version 1.0, for float32 rows."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    size = len(MAGIC) + 2 + len(text) + 1
    text += " " * (-size % ALIGNED) + "\n"
    return MAGIC + struct.pack("<H", len(text)) + text.encode()


# `perennial reembed`: the vectors of a dataset by a version.


@click.command(epilog=example("perennial reembed demo@production products:2 --output vectors.npy"))
@click.argument("reference")
@click.argument("dataset")
@click.option(
    "--output",
    type=NEW_PLACE,
    metavar="FILE",
    help="Wait, then write the vectors to this .npy file, and the list of rows beside it.",
)
@wait_option
@json_option
def reembed(
    reference: str,
    dataset: str,
    output: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Store the vectors of a dataset's images by a version.

    REFERENCE is a model, or name@alias, name:7 or name@sha256:... DATASET is one, by its newest
    version, or name:2.
    """
    lines = None if output is None else _place_of_lines(output)
    with connected() as client:
        model, version = find_version(client, reference)
        dataset, number = find_dataset_version(client, dataset)
        job = client.vectors.order(model, version, dataset, number)
        if not (wait or output):
            tell_ordered(job, as_json)
            return
        follow(client, job["id"])
        found = client.vectors.get(model, version, dataset, number)
        if output is not None and lines is not None:
            with bytes_bar("receiving") as on_bytes:
                client.vectors.download(
                    model, version, dataset, number, to=output, on_bytes=on_bytes
                )
            client.vectors.download_images(model, version, dataset, number, to=lines)
    told = (
        f"{found['rows']:,} vectors of {found['width']} values: {found['dataset']} version "
        f"{found['dataset_version']} by {found['model']} version {found['version']}."
    )
    tell(found, as_json, told)


def _place_of_lines(output: Path) -> Path:
    """Return the place of the lines beside the vectors. Raises Failure if either is taken."""
    lines = output.with_suffix(".jsonl")
    if lines == output:
        raise Failure(f"The list of rows goes to {output}: name the file of vectors .npy.")
    for file in (output, lines):
        require_absent(file)
    return lines


# `perennial compatibility`: whether an index of old vectors still holds.


@click.command(epilog=example("perennial compatibility demo:3 --from 1 --wait"))
@click.argument("reference")
@click.option(
    "--from",
    "baseline",
    metavar="VERSION",
    help="Version whose vectors are in the index (default: the parent).",
)
@click.option(
    "--output",
    type=NEW_PLACE,
    metavar="FILE",
    help="Wait, then write the bridge to this file (safetensors).",
)
@wait_option
@json_option
def compatibility(
    reference: str, baseline: str | None, output: Path | None, wait: bool, as_json: bool
) -> None:
    """Report whether an index of an older version's vectors still serves a version.

    REFERENCE is a model, or name@alias, name:7 or name@sha256:...
    """
    if output is not None:
        require_absent(output)
    with connected() as client:
        model, version = find_version(client, reference)
        number = None if baseline is None else number_of(model, baseline)
        job = client.vectors.compare(model, version, baseline=number)
        if not (wait or output):
            tell_ordered(job, as_json)
            return
        ended = follow(client, job["id"])
        found = client.vectors.report(model, version, (ended["result"] or {})["from"])
        if output is not None:
            client.vectors.download_bridge(model, version, found["from"], to=output)
    tell(found, as_json, _print_compatibility)


def _print_compatibility(found: Compatibility) -> None:
    click.echo(found["reason"])
    print_table(
        ("suite", "search", "queries", "old index, %", "by bridge, %", "re-embedded, %", "bridge"),
        [
            (
                one["suite"],
                one["search"].replace("_", " "),
                one["queries"] if one["judged"] else f"{one['queries']} (not judged)",
                percent(one["raw"]),
                percent(one["bridged"]),
                percent(one["reembedded"]),
                points(0.0 - one["bridged_loss"]["value"]),
            )
            for one in found["searches"]
        ],
        title=f"Recall@{found['depth']} of {found['model']} version {found['version']} in an index "
        f"of version {found['from']}'s vectors",
    )


VERBS = (classify, embed, reembed, compatibility)
