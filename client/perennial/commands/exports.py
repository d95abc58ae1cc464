"""`perennial export`, `import-version` and `signing-key`: versions as files."""

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import click

from perennial.client import Client
from perennial.publishing.signing import Signer, sign_option, signature_beside
from perennial.terminal.arguments import FILE, example, find_version, wait_option
from perennial.terminal.output import bytes_bar, json_option, tell
from perennial.terminal.session import Failure, connected, follow, tell_job, tell_ordered
from perennial.types import Export, ExportFormat

# `perennial export`: a version as files that other software loads.

NEW_PLACE = click.Path(path_type=Path)
PIECE = 1 << 20  # bytes


@click.command(
    epilog=example("perennial export demo@production --format onnx --output demo-onnx --wait")
)
@click.argument("reference")
@click.option(
    "--format",
    "export_format",
    type=click.Choice(get_args(ExportFormat)),
    default="open_clip",
    show_default=True,
    help="Software that will load the files.",
)
@click.option(
    "--output",
    type=NEW_PLACE,
    metavar="FOLDER",
    help="Wait, then write the files to this folder; a bundle is one file.",
)
@sign_option
@wait_option
@json_option
def export(
    reference: str,
    export_format: ExportFormat,
    output: Path | None,
    key: Path | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Write a version as files that other software loads, checked against the version.

    REFERENCE is a model, or name@alias, name:7 or name@sha256:...
    """
    if key and output is None:
        raise click.UsageError("--sign signs what --output writes: give both.")
    signer = Signer(key) if key else None
    if output is not None:
        _require_new(output, export_format, signed=signer is not None)
    with connected() as client:
        model, version = find_version(client, reference)
        job = client.exports.order(model, version, export_format)
        if not (wait or output):
            tell_ordered(job, as_json)
            return
        follow(client, job["id"])
        made = client.exports.get(model, version, export_format)
        if output is not None:
            _fetch(client, made, output)
            if signer:
                signer.sign(output)
    tell(made, as_json, _told(made))


def _require_new(output: Path, export_format: ExportFormat, *, signed: bool) -> None:
    """Raise Failure unless an export in this format may be written there."""
    if export_format == "bundle":
        require_absent(output)
        if signed:
            require_absent(signature_beside(output))
    else:
        require_new_folder(output)


def require_new_folder(folder: Path) -> None:
    """Raise Failure unless a folder is empty, or not there yet."""
    if not folder.is_dir():
        require_absent(folder)
    elif any(folder.iterdir()):
        raise Failure(f"{folder} is not empty: name a new folder.")


def require_absent(file: Path) -> None:
    """Raise Failure if a file that would be written is there already."""
    if file.exists():
        raise Failure(f"{file} is there already: name a new one.")


def _told(made: Export) -> str:
    check = made["check"]
    return (
        f"{made['model']}: version {made['version']} as {made['format']}, {made['size']:,} bytes. "
        f"Smallest cosine: {check['least_cosine_images']} over {check['images']} images, "
        f"{check['least_cosine_texts']} over {check['texts']} texts."
    )


def _fetch(client: Client, made: Export, output: Path) -> None:
    """Write the files of an export into a folder, or a bundle as it is."""
    if made["format"] == "bundle":
        output.parent.mkdir(parents=True, exist_ok=True)
        _download(client, made, output)
        return
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        unpack(_download(client, made, Path(folder) / "export.tar"), output)


def _download(client: Client, made: Export, to: Path) -> Path:
    with bytes_bar("receiving") as on_bytes:
        return client.exports.download(
            made["model"], made["version"], made["format"], to=to, on_bytes=on_bytes
        )


def unpack(packed: Path, output: Path) -> None:
    """Write the files of a tar into a folder, each by its last name."""
    with tarfile.open(packed) as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isreg() else None
            if file is None:
                continue
            with (output / PurePosixPath(entry.name).name).open("wb") as out:
                while piece := file.read(PIECE):
                    out.write(piece)


# `perennial import-version` and `perennial signing-key`.

LONGEST_BODY = 256 * 1024**2  # bytes; a longer bundle goes in parts


@click.command(epilog=example("perennial import-version demo demo-3.tar --wait"))
@click.argument("model")
@click.argument("bundle", type=FILE)
@click.option("--expect-digest", metavar="SHA256", help="Fail unless the version has this digest.")
@click.option(
    "--guard",
    metavar="SUITE",
    help="Suite with test images of what the version was taught; becomes one of the model's.",
)
@wait_option
@json_option
def import_version(
    model: str,
    bundle: Path,
    expect_digest: str | None,
    guard: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Import a version from a bundle that another service has signed.

    MODEL must have a version that it was trained from, such as the same root. The version has no
    verdict here: score it before you promote it. Its images are not here either: name a suite that
    has test images of its classes, so that later updates cannot forget them unseen.
    """
    with connected() as client:
        if bundle.stat().st_size > LONGEST_BODY:
            with bytes_bar("sending") as on_bytes:
                upload = client.uploads.send(bundle, on_bytes=on_bytes)
            job = client.bundles.import_upload(
                model, upload, expect_digest=expect_digest, guard=guard
            )
        else:
            job = client.bundles.send(model, bundle, expect_digest=expect_digest, guard=guard)
        tell_job(client, job, wait, as_json, lambda _, job: _tell(model, job["result"] or {}))


def _tell(model: str, result: Mapping[str, Any]) -> None:
    version = result["version"]
    if result["created"]:
        click.echo(f"{model}: version {version}, digest {result['digest']}")
        click.echo(f"It has no verdict here yet: perennial evaluate {model}:{version}")
    else:
        click.echo(f"{model}: version {version} is the same; nothing was imported.")
    if unguarded := result["unguarded"]:
        click.echo(
            f"Nothing guards these of its classes against forgetting: {', '.join(unguarded)}. Give "
            "the model a suite with test images of them: perennial suite create"
        )


@click.command(epilog=example("perennial signing-key"))
@json_option
def signing_key(as_json: bool) -> None:
    """Print the public key of the service's bundles, as another service trusts it."""
    with connected() as client:
        found = client.bundles.signing_key()
    tell(found, as_json, found["public_key"])


VERBS = (export, import_version, signing_key)
