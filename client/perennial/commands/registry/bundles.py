"""`perennial import-version` and `perennial signing-key`."""

from pathlib import Path

import click

from perennial.terminal.arguments import FILE, example
from perennial.terminal.following import follow, tell_ordered, wait_option
from perennial.terminal.output import json_option, print_json
from perennial.terminal.progress import bytes_bar
from perennial.terminal.session import connected

LONGEST_BODY = 256 * 1024**2  # bytes; a longer bundle goes in parts


@click.command(epilog=example("perennial import-version demo demo-3.tar --wait"))
@click.argument("model")
@click.argument("bundle", type=FILE)
@click.option("--expect-digest", metavar="SHA256", help="Fail unless the version has this digest.")
@wait_option
@json_option
def import_version(
    model: str, bundle: Path, expect_digest: str | None, wait: bool, as_json: bool
) -> None:
    """Import a version from a bundle that another service has signed.

    MODEL must have a version that it was trained from, such as the same root. The version has no
    verdict here: score it before you promote it.
    """
    with connected() as client:
        if bundle.stat().st_size > LONGEST_BODY:
            with bytes_bar("sending") as on_bytes:
                upload = client.uploads.send(bundle, on_bytes=on_bytes)
            job = client.bundles.import_upload(model, upload, expect_digest=expect_digest)
        else:
            job = client.bundles.send(model, bundle, expect_digest=expect_digest)
        if wait:
            job = follow(client, job["id"])
    if as_json:
        print_json(job)
    elif not wait:
        tell_ordered(job)
    else:
        _tell(model, job["result"] or {})


def _tell(model: str, result: dict[str, object]) -> None:
    version = result["version"]
    if not result["created"]:
        click.echo(f"{model}: version {version} is the same; nothing was imported.")
        return
    click.echo(f"{model}: version {version}, digest {result['digest']}")
    click.echo(f"It has no verdict here yet: perennial evaluate {model} {version}")


@click.command(epilog=example("perennial signing-key"))
@json_option
def signing_key(as_json: bool) -> None:
    """Print the public key of the service's bundles, as another service trusts it."""
    with connected() as client:
        found = client.bundles.signing_key()
    if as_json:
        print_json(found)
    else:
        click.echo(found["public_key"])
