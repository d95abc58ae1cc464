"""`perennial publish`: a version as a folder for others, with a card and a signature."""

import re
import tempfile
from pathlib import Path

import click

from perennial.client import Client
from perennial.commands.exports import require_new_folder, unpack
from perennial.publishing.bom import BOM, bill_of_materials
from perennial.publishing.card import CARD, model_card
from perennial.publishing.facts import Facts, read_facts
from perennial.publishing.hub import Hub
from perennial.publishing.signing import Signer, sign_option
from perennial.terminal.arguments import example, find_version, version_argument
from perennial.terminal.output import bytes_bar, json_option, tell
from perennial.terminal.session import GATE, Failure, connected

HUB = "hf://"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def place(text: str) -> Path | str:
    """Return a new folder, or the repository of `hf://ORG/NAME`. Raises BadParameter."""
    if not text.startswith(HUB):
        return Path(text)
    repository = text.removeprefix(HUB)
    if not REPOSITORY.fullmatch(repository):
        raise click.BadParameter("give hf://ORG/NAME, as in hf://lab/clip-of-shoes")
    return repository


@click.command(
    epilog=example(
        "perennial publish demo:3 --to demo-3 --license apache-2.0 --sign key.pem",
        "perennial publish demo:3 --to hf://lab/demo --license apache-2.0 --sign key.pem",
    )
)
@version_argument()
@click.option(
    "--to",
    type=place,
    required=True,
    metavar="FOLDER|hf://ORG/NAME",
    help="New folder to write, or a repository of a hub: HF_ENDPOINT says which, HF_TOKEN who.",
)
@click.option(
    "--license",
    "licence",
    required=True,
    metavar="ID",
    help="Licence of the weights, as hubs write it, such as apache-2.0 or other.",
)
@click.option("--base", metavar="ORG/NAME", help="Model that the root is, as hubs name it.")
@sign_option
@click.option(
    "--any-verdict", is_flag=True, help="Publish even what the gate has not passed; the card says."
)
@click.option("--public", is_flag=True, help="Make a new repository public, not private.")
@json_option
def publish(
    named: str,
    to: Path | str,
    licence: str,
    base: str | None,
    key: Path | None,
    any_verdict: bool,
    public: bool,
    as_json: bool,
) -> None:
    """Write a version for others: its files, a model card, a signature.

    The files are those that open_clip loads. A version that the gate has not passed is refused.
    """
    hub = Hub(to) if isinstance(to, str) else None
    if isinstance(to, Path):
        require_new_folder(to)
        to.parent.mkdir(parents=True, exist_ok=True)
    signer = Signer(key) if key else None
    with connected() as client:
        model, version = find_version(client, named)
        facts = read_facts(client, model, version, licence=licence, base=base)
        if not any_verdict:
            _require_passed(facts)
        with tempfile.TemporaryDirectory(dir=None if hub else Path(to).parent) as temporary:
            folder = Path(temporary) / Path(to).resolve().name
            _write(client, facts, folder)
            if signer:
                signer.sign(folder)
            files = sorted(path.name for path in folder.iterdir())
            where = hub.send(folder, facts.name, public=public) if hub else str(folder.replace(to))
    tell(
        {"to": where, "files": files, "version": facts.version["digest"]},
        as_json,
        f"{where}: {facts.name} with {', '.join(files)}.",
    )


def _write(client: Client, facts: Facts, folder: Path) -> None:
    """Write the files of a version, its card and its bill of materials into a new folder."""
    folder.mkdir()
    packed = folder.with_name(f"{folder.name}.tar")
    with bytes_bar("receiving") as on_bytes:
        client.versions.download(
            facts.version["model"], facts.version["version"], to=packed, on_bytes=on_bytes
        )
    unpack(packed, folder)
    packed.unlink()
    (folder / CARD).write_text(model_card(facts), "utf-8")
    bill = bill_of_materials(facts, sorted(folder.iterdir()))
    (folder / BOM).write_text(bill, "utf-8")


def _require_passed(facts: Facts) -> None:
    """Raise Failure unless the gate has passed the version."""
    verdict = facts.version["verdict"]
    if verdict != "passed":
        found = f"the verdict on it is '{verdict}'" if verdict else "it has no verdict"
        raise Failure(
            f"{facts.name} is not published: {found}. To publish it all the same: --any-verdict.",
            GATE,
        )


VERBS = (publish,)
