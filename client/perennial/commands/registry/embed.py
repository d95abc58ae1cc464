"""`perennial embed`: vectors of images or texts, as JSON lines or as a file for NumPy."""

import base64
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from perennial.client import Client
from perennial.terminal.arguments import FILE, NEW_FILE, example
from perennial.terminal.failures import Failure
from perennial.terminal.output import json_option, note, print_json_lines, print_table
from perennial.terminal.session import connected
from perennial.types.embed import Embed, InputVector

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
