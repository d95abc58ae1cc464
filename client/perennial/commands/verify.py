"""`perennial verify`: recompute a verdict from its evidence, without the service."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perennial.terminal.arguments import NEW_FILE, example, find_version
from perennial.terminal.output import json_option, tell
from perennial.terminal.session import Failure, connected

if TYPE_CHECKING:
    from perennial.rules.bundles.evidence import EvidenceFile

EQUAL, DIFFERS, UNKNOWN = 0, 1, 2  # exit codes
SHOWN = 20  # differences
NOT_CHECKED = (
    "Signature: not checked. Give the public key of the service with --key, as you have it from "
    "its operator; without it, whoever made this file may have made up the answers, too."
)


@click.command(
    epilog=example(
        "perennial verify demo:4 --key MCowBQYDK2VwAyEAo2sAAS7LJxSPmP... --output demo-4.zip",
        "perennial verify demo-4.zip --key MCowBQYDK2VwAyEAo2sAAS7LJxSPmP...",
    )
)
@click.argument("evidence", metavar="FILE|MODEL:VERSION")
@click.option("--key", metavar="BASE64", help="The public key that must have signed it.")
@click.option(
    "--job", help="The evaluation of MODEL:VERSION, from `verdicts` (default: that of the verdict)."
)
@click.option("--output", type=NEW_FILE, metavar="FILE", help="Keep the evidence, too.")
@json_option
def verify(
    evidence: str, key: str | None, job: str | None, output: Path | None, as_json: bool
) -> int:
    """Recompute a report's measures and verdict from its evidence.

    FILE is evidence that was downloaded: it is checked here, without the service. Of MODEL:VERSION,
    the evidence is downloaded first. Exit codes: 0 equal; 1 the report differs from what follows,
    or the signature is of no such key; 2 it cannot be recomputed, as images were erased since or
    the file is damaged.
    """
    from perennial.rules.bundles.evidence import EvidenceUnreadable, read_evidence

    data = _read(evidence, job)
    if output is not None:
        output.write_bytes(data)
    try:
        file = read_evidence(io.BytesIO(data))
        signed = _signature(file, key)
        found = [] if file.erased else file.differences()
    except EvidenceUnreadable as error:
        raise Failure(str(error), UNKNOWN) from error
    result = {
        "model": file.report["model"],
        "version": file.report["version"],
        "verdict": file.report["verdict"],
        "evidence": file.digest,
        "report": file.facts["report"],
        "signature": signed,
        "erased": file.erased,
        "differences": [vars(one) for one in found],
        "equal": None if file.erased else not found,
    }
    tell(result, as_json, lambda _: _print(file, result))
    return UNKNOWN if file.erased else DIFFERS if found else EQUAL


def _read(evidence: str, job: str | None) -> bytes:
    if Path(evidence).is_file():
        return Path(evidence).read_bytes()
    if evidence.endswith(".zip"):
        raise click.BadParameter(f"{evidence} does not exist", param_hint="FILE")
    with connected() as client:
        model, version = find_version(client, evidence)
        return client.versions.evidence(model, version, job=job)


def _signature(file: "EvidenceFile", key: str | None) -> str | None:
    """Return the id of the key that has signed; None if no key was given. Raises Failure."""
    if key is None:
        return None
    try:
        from perennial.rules.bundles.signing import Signatures
    except ImportError as error:
        message = "--key needs another package: pip install 'perennial-client[verify]'"
        raise Failure(message, UNKNOWN) from error
    from perennial.rules.errors import BundleNotTrusted, UnsafeConfiguration

    try:
        return str(Signatures("", {"given": key}).signer_of(file.envelope).key_id)
    except UnsafeConfiguration as error:
        raise click.BadParameter(
            "give an Ed25519 key in base64, as `perennial signing-key` prints it",
            param_hint="--key",
        ) from error
    except BundleNotTrusted as error:
        signed = "by another key" if file.envelope.signatures else "by nobody"
        raise Failure(f"The evidence is not signed by this key, but {signed}.", DIFFERS) from error


def _print(file: "EvidenceFile", result: dict[str, Any]) -> None:
    about = f"{result['model']}, version {result['version']}"
    click.echo(f"{about}: {result['verdict']}, evaluated at {file.facts['at'][:19]} UTC")
    click.echo(f"Evidence: {file.digest}, of the report {file.facts['report']}")
    key = result["signature"]
    click.echo(NOT_CHECKED if key is None else f"Signature: valid, of the key {key[:16]}.")
    if file.erased:
        for name, images in file.erased.items():
            click.echo(f"- {name}: {_counted(images, 'test image')} erased")
        gone = _counted(sum(file.erased.values()), "image")
        click.echo(f"Cannot be recomputed: {gone} erased since.")
        return
    found = result["differences"]
    for one in found[:SHOWN]:
        click.echo(
            f"- {one['place']}: {one['stated']} in the report, {one['recomputed']} recomputed"
        )
    measures = f"{len(file.report['measures'])} measures and the verdict"
    if found:
        values = "1 value" if len(found) == 1 else f"{len(found)} values"
        click.echo(f"Differs: {values} of the report from what follows from its evidence.")
        click.echo(
            f"Made by release {file.facts['release']}; check it with the client of that release."
        )
    else:
        click.echo(f"Equal: {measures} follow from the answers to {file.images:,} test images.")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun} was" if count == 1 else f"{count:,} {noun}s were"


VERBS = (verify,)
