"""`perennial publish`: a version as a folder for others, with a card and a signature."""

import tempfile
from pathlib import Path
from typing import Any

import click

from perennial.client import Client
from perennial.commands.exports import require_new_folder, unpack
from perennial.publishing.card import CARD, model_card
from perennial.publishing.facts import Facts, read_facts
from perennial.terminal.arguments import FILE, NEW_FOLDER, example, find_version, version_argument
from perennial.terminal.output import bytes_bar, json_option, tell
from perennial.terminal.session import GATE, Failure, connected


@click.command(
    epilog=example("perennial publish demo:3 --to demo-3 --license apache-2.0 --sign key.pem")
)
@version_argument()
@click.option("--to", type=NEW_FOLDER, required=True, metavar="FOLDER", help="New folder to write.")
@click.option(
    "--license",
    "licence",
    required=True,
    metavar="ID",
    help="Licence of the weights, as hubs write it, such as apache-2.0 or other.",
)
@click.option("--base", metavar="ORG/NAME", help="Model that the root is, as hubs name it.")
@click.option(
    "--sign",
    "key",
    type=FILE,
    metavar="KEY.pem",
    help="Private key of an elliptic curve, to sign the files by OpenSSF model signing.",
)
@click.option(
    "--any-verdict", is_flag=True, help="Publish even what the gate has not passed; the card says."
)
@json_option
def publish(
    named: str,
    to: Path,
    licence: str,
    base: str | None,
    key: Path | None,
    any_verdict: bool,
    as_json: bool,
) -> None:
    """Write a version for others: its files, a model card, a signature.

    The files are those that open_clip loads. A version that the gate has not passed is refused.
    """
    require_new_folder(to)
    signer = _signer(key) if key else None
    with connected() as client:
        model, version = find_version(client, named)
        facts = read_facts(client, model, version, licence=licence, base=base)
        if not any_verdict:
            _require_passed(facts)
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent) as temporary:
            folder = Path(temporary) / to.resolve().name
            _write(client, facts, folder)
            if signer:
                signer.sign(folder)
            folder.replace(to)
    files = sorted(path.name for path in to.iterdir())
    tell(
        {"folder": str(to), "files": files, "version": facts.version["digest"]},
        as_json,
        f"{to}: {facts.name} with {', '.join(files)}.",
    )


def _write(client: Client, facts: Facts, folder: Path) -> None:
    """Write the files of a version and its card into a new folder."""
    folder.mkdir()
    packed = folder.with_name(f"{folder.name}.tar")
    with bytes_bar("receiving") as on_bytes:
        client.versions.download(
            facts.version["model"], facts.version["version"], to=packed, on_bytes=on_bytes
        )
    unpack(packed, folder)
    packed.unlink()
    (folder / CARD).write_text(model_card(facts), "utf-8")


def _require_passed(facts: Facts) -> None:
    """Raise Failure unless the gate has passed the version."""
    verdict = facts.version["verdict"]
    if verdict != "passed":
        found = f"the verdict on it is '{verdict}'" if verdict else "it has no verdict"
        raise Failure(
            f"{facts.name} is not published: {found}. To publish it all the same: --any-verdict.",
            GATE,
        )


def _signer(key: Path) -> Any:
    """Return what signs by a key. Raises Failure if the package is missing."""
    try:
        from perennial.publishing.signing import Signer
    except ImportError as error:
        message = "--sign needs another package: pip install 'perennial-client[publish]'"
        raise Failure(message) from error
    return Signer(key)


VERBS = (publish,)
