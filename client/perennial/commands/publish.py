"""`perennial publish`: a version as a folder for others, here, on a hub or in a registry."""

import tempfile
from pathlib import Path

import click

from perennial.client import Client
from perennial.commands.exports import require_new_folder, unpack
from perennial.publishing.bom import BOM, bill_of_materials
from perennial.publishing.card import CARD, model_card
from perennial.publishing.facts import Facts, read_facts
from perennial.publishing.hub import BASE, HUB, Hub
from perennial.publishing.oci import OCI, Repository
from perennial.publishing.signing import Signer, sign_option
from perennial.terminal.arguments import example, find_version, version_argument
from perennial.terminal.output import bytes_bar, json_option, tell
from perennial.terminal.session import GATE, Failure, connected


def place(text: str) -> Path | Hub | Repository:
    """Return a new folder, or a repository of a hub or a registry. Raises BadParameter."""
    if text.startswith(HUB):
        return Hub(text)
    return Repository(text) if text.startswith(OCI) else Path(text)


def base_name(text: str) -> str:
    """Return the name of a model, if it is one as hubs write it. Raises BadParameter."""
    if not BASE.fullmatch(text):
        raise click.BadParameter("give ORG/NAME, as hubs name models: laion/CLIP-ViT-B-32")
    return text


@click.command(
    epilog=example(
        "perennial publish demo:3 --to demo-3 --license apache-2.0 --sign key.pem",
        "perennial publish demo:3 --to hf://lab/demo --license apache-2.0 --sign key.pem",
        "perennial publish demo:3 --to oci://ghcr.io/lab/demo:3 --license apache-2.0",
    )
)
@version_argument()
@click.option(
    "--to",
    type=place,
    required=True,
    metavar="FOLDER|hf://ORG/NAME|oci://HOST/NAME:TAG",
    help="New folder to write, a repository of a hub (HF_ENDPOINT says which, HF_TOKEN who), or "
    "one of an OCI registry (OCI_USER and OCI_PASSWORD say who).",
)
@click.option(
    "--license",
    "licence",
    required=True,
    metavar="ID",
    help="Licence of the weights, as hubs write it, such as apache-2.0 or other.",
)
@click.option(
    "--base",
    type=base_name,
    metavar="ORG/NAME",
    help="Model that the root is, as hubs name it.",
)
@sign_option
@click.option(
    "--any-verdict", is_flag=True, help="Publish even what the gate has not passed; the card says."
)
@click.option("--public", is_flag=True, help="Make a new repository of a hub public, not private.")
@click.option(
    "--image",
    is_flag=True,
    help="Send a registry an image with /models to mount in a cluster, not a ModelPack.",
)
@json_option
def publish(
    named: str,
    to: Path | Hub | Repository,
    licence: str,
    base: str | None,
    key: Path | None,
    any_verdict: bool,
    public: bool,
    image: bool,
    as_json: bool,
) -> None:
    """Write a version for others: its files, a model card, a signature.

    The files are those that open_clip loads. A version that the gate has not passed is refused.
    """
    if public and not isinstance(to, Hub):
        raise click.UsageError("--public is for hf://.")
    if image and not isinstance(to, Repository):
        raise click.UsageError("--image is for oci://.")
    if isinstance(to, Path):
        require_new_folder(to)
        to.parent.mkdir(parents=True, exist_ok=True)
    signer = Signer(key) if key else None
    with connected() as client:
        model, version = find_version(client, named)
        facts = read_facts(client, model, version, licence=licence, base=base)
        if not any_verdict:
            _require_passed(client, facts)
        with tempfile.TemporaryDirectory(dir=_beside(to)) as temporary:
            folder = Path(temporary) / "model"
            _write(client, facts, folder)
            if signer:
                signer.sign(folder)
            files = sorted(path.name for path in folder.iterdir())
            if isinstance(to, Hub):
                where = to.send(folder, facts, public=public)
            elif isinstance(to, Repository):
                where = to.send(folder, facts, image=image)
            else:
                where = str(folder.replace(to))
    tell(
        {"to": where, "files": files, "version": facts.version["digest"]},
        as_json,
        f"{where}: {facts.name} with {', '.join(files)}.",
    )


def _beside(to: Path | Hub | Repository) -> Path | None:
    """Return the folder that a new folder is in; None: any will do."""
    return to.parent if isinstance(to, Path) else None


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


def _require_passed(client: Client, facts: Facts) -> None:
    """Raise Failure unless the gate has passed the version, and it is live or may go live now."""
    number, verdict = facts.version["version"], facts.version["verdict"]
    refusal = client.aliases.preview(facts.version["model"], number)["refusal"]
    found = "it has no verdict"
    if verdict == "passed":
        if refusal is None:
            return
        found = f"it has passed, but would not go live now. {refusal['detail']}"
    elif verdict:
        found = f"the verdict on it is '{verdict}'"
    found = found.removesuffix(".")
    raise Failure(
        f"{facts.name} is not published: {found}. To publish it all the same: --any-verdict.", GATE
    )


VERBS = (publish,)
