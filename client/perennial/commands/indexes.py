"""`perennial index`: vectors in PostgreSQL or Qdrant that follow an alias."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import httpx

from perennial.client import Client
from perennial.errors import JobFailed, ServiceError
from perennial.terminal.arguments import FILE, FOLDER, alias_option, example, find_version
from perennial.terminal.output import (
    json_option,
    note,
    percent,
    print_json,
    print_list,
    print_table,
    steps_bar,
    tell,
)
from perennial.terminal.session import Failure, connected
from perennial.types import Index

if TYPE_CHECKING:
    from perennial.indexes.keep import Keeper
    from perennial.indexes.store import Store

# The store. Its password is in the environment or a file, never among the arguments, which other
# users of the machine can see.

QDRANT_KEY = "QDRANT_API_KEY"


def store_options(command: Any) -> Any:
    """Give a command the options that name a store."""
    for option in (
        click.option(
            "--qdrant",
            metavar="URL",
            envvar="PERENNIAL_INDEX_QDRANT",
            callback=_without_password,
            help=f"Qdrant's address; its key is taken from {QDRANT_KEY}.",
        ),
        click.option(
            "--table",
            metavar="URL",
            envvar="PERENNIAL_INDEX_TABLE",
            callback=_without_password,
            help="PostgreSQL's address, postgresql://USER@HOST/DATABASE; the password is taken "
            "from PGPASSWORD or ~/.pgpass.",
        ),
    ):
        command = option(command)
    return command


def _without_password(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    """Refuse a password among the arguments."""
    given = context.get_parameter_source(parameter.name or "")
    if value is None or given is not click.core.ParameterSource.COMMANDLINE:
        return value
    try:
        secret = urlsplit(value).password is not None or "password=" in value
    except ValueError:
        secret = True
    if secret:
        raise click.UsageError(
            f"Other users of this machine can see arguments: take the password out of --"
            f"{parameter.name}, and put it into PGPASSWORD, ~/.pgpass or {QDRANT_KEY}."
        )
    return value


@contextmanager
def _opened(name: str, table: str | None, qdrant: str | None, **options: Any) -> Iterator["Store"]:
    """Yield the store of an index. Raises Failure."""
    if (table is None) is (qdrant is None):
        raise click.UsageError("give either --table or --qdrant")
    extra = "qdrant" if table is None else "pgvector"
    try:
        from perennial.indexes.store import IndexFailure

        if table is not None:
            from perennial.indexes.pgvector import PgVectorStore

            open_store: Callable[[], Any] = partial(PgVectorStore, table, name, **options)
        else:
            from perennial.indexes.qdrant import QdrantStore

            key = os.environ.get(QDRANT_KEY)
            open_store = partial(QdrantStore.at, str(qdrant), name, key, **options)
    except ImportError as error:
        raise Failure(
            f"{error.name} is missing: install perennial-client with the extra {extra!r}."
        ) from error
    try:
        with ExitStack() as stack:
            store = open_store()
            stack.callback(store.close)
            yield store
    except IndexFailure as error:
        raise Failure(str(error)) from error


source_options = click.option(
    "--files",
    type=FOLDER,
    envvar="PERENNIAL_INDEX_FILES",
    metavar="FOLDER",
    help="Folder of the images, for an index that is of no dataset.",
)

rate_option = click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="VECTORS",
    help="The most vectors to write a second (default: as fast as it goes).",
)

method_option = click.option(
    "--by",
    "method",
    type=click.Choice(["embedded", "bridged", "held"]),
    help="How to make the vectors (default: the cheapest that a compatibility report allows).",
)

model_option = click.option("--model", required=True, metavar="MODEL", help="Model of the index.")


@contextmanager
def _keeping(
    client: Client,
    model: str,
    name: str,
    *,
    table: str | None,
    qdrant: str | None,
    files: Path | None,
    rate: float | None,
) -> Iterator["Keeper"]:
    """Yield what keeps an index. Raises Failure."""
    with _opened(name, table, qdrant) as store, TemporaryDirectory(prefix="perennial-") as folder:
        from perennial.indexes.keep import Keeper
        from perennial.indexes.sources import DatasetSource, FolderSource, Source
        from perennial.indexes.store import Pace

        found = client.indexes.get(model, name)
        if (found["dataset"] is None) is (files is None):
            raise click.UsageError(
                f"the index is of the dataset {found['dataset']}: leave --files out"
                if files
                else "the index is of files: name their folder with --files"
            )
        if found["store"] != ("qdrant" if table is None else "pgvector"):
            raise click.UsageError(f"the index is in {found['store']}")
        source: Source
        if found["dataset"] is not None:
            source = DatasetSource(client, model, found["dataset"], Path(folder), note)
        else:
            source = FolderSource(client, model, files or Path(), note)
        with steps_bar("vectors") as progress:
            yield Keeper(
                client,
                store,
                source,
                model=model,
                index=name,
                pace=Pace(rate),
                notify=note,
                progress=progress,
            )


@click.group()
def index() -> None:
    """Keep vectors in PostgreSQL or Qdrant true while an alias moves."""


@index.command(
    epilog=example(
        "perennial index create shop --model demo --dataset products \\",
        "  --table postgresql://shop@db.example/shop",
    )
)
@click.argument("name")
@model_option
@alias_option
@click.option("--dataset", metavar="NAME", help="Dataset whose newest version is indexed.")
@click.option(
    "--allow-loss",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Points of recall@10 that held or bridged vectors may lose (default: 2).",
)
@source_options
@store_options
@rate_option
@json_option
def create(
    name: str,
    model: str,
    alias: str,
    dataset: str | None,
    allow_loss: float | None,
    as_json: bool,
    **keeping: Any,
) -> None:
    """Create an index and fill it by the live version.

    The same command goes on after an interruption.
    """
    if (dataset is None) is (keeping["files"] is None):
        raise click.UsageError("give either --dataset or --files")
    with connected() as client:
        try:
            client.indexes.create(
                model,
                name,
                store="pgvector" if keeping["table"] else "qdrant",
                alias=alias,
                dataset=dataset,
                allowed_loss=None if allow_loss is None else allow_loss / 100,
            )
        except ServiceError as error:
            if error.code != "name_taken":
                raise
        with _keeping(client, model, name, **keeping) as keeper:
            tell(keeper.sync(), as_json, _print)


@index.command("list", epilog=example("perennial index list --model demo"))
@model_option
@json_option
def list_indexes(model: str, as_json: bool) -> None:
    """List the indexes of a model."""
    with connected() as client:
        print_list(
            client.indexes.list(model),
            as_json,
            ("index", "store", "of", "alias", "live", "complete versions"),
            lambda one: (
                one["name"],
                one["store"],
                one["dataset"] or "files",
                one["alias"],
                one["live"],
                ", ".join(
                    str(row["version"])
                    for row in one["versions"]
                    if row["state"] not in {"wanted", "filling"}
                ),
            ),
        )


@index.command(epilog=example("perennial index show shop --model demo"))
@click.argument("name")
@model_option
@json_option
def show(name: str, model: str, as_json: bool) -> None:
    """Show what an index has for each version."""
    with connected() as client:
        tell(client.indexes.get(model, name), as_json, _print)


def _print(found: Index) -> None:
    print_table(
        ("version", "state", "vectors", "from version", "rows", "of", "may lose, points"),
        [
            (
                one["version"],
                one["state"],
                one["method"],
                one["baseline"],
                one["rows"],
                one["total"],
                "" if one["loss"] is None else percent(one["loss"]),
            )
            for one in found["versions"]
        ],
        title=f"{found['name']}, {found['store']}, follows {found['model']}@{found['alias']}",
    )


@index.command(epilog=example("perennial index move shop demo:2 --table postgresql://db/shop"))
@click.argument("name")
@click.argument("version", metavar="MODEL:VERSION")
@method_option
@click.option("--reason", help="Reason, kept in the alias's history.")
@click.option(
    "--override", is_flag=True, help="Move the alias even if the gate refuses; needs a reason."
)
@source_options
@store_options
@rate_option
@json_option
def move(
    name: str,
    version: str,
    method: Any,
    reason: str | None,
    override: bool,
    as_json: bool,
    **keeping: Any,
) -> None:
    """Fill an index for a version, then move alias and searches there.

    The same command goes on after an interruption.
    """
    with connected() as client:
        model, number = find_version(client, version)
        with _keeping(client, model, name, **keeping) as keeper:
            moved = keeper.move(number, method=method, reason=reason, override=override or None)
            tell(moved, as_json, _print)


@index.command(epilog=example("perennial index sync shop --model demo --follow"))
@click.argument("name")
@model_option
@click.option("--follow", is_flag=True, help="Go on until interrupted.")
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Pause between two looks.",
)
@click.option(
    "--keep",
    "retired",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Retired versions to keep, which a rollback may go to.",
)
@source_options
@store_options
@rate_option
@json_option
def sync(
    name: str,
    model: str,
    follow: bool,
    every: float,
    retired: int,
    as_json: bool,
    **keeping: Any,
) -> None:
    """Bring a store to where its alias and its images are.

    After a promotion or a rollback by anyone, after images came or went, and after an
    interruption.
    """
    with connected() as client:
        while True:
            try:
                with _keeping(client, model, name, **keeping) as keeper:
                    found = keeper.sync(retired=retired)
            except (Failure, ServiceError, JobFailed, httpx.TransportError) as error:
                if not follow:
                    raise
                note(f"{error}; again in {every:g} seconds")
            else:
                if not follow:
                    tell(found, as_json, _print)
                    return
            time.sleep(every)


@index.command(
    epilog=example("perennial index search shop --model demo --text 'a red bag' --limit 5")
)
@click.argument("name")
@model_option
@click.option("--text", help="Text to search for.")
@click.option("--image", type=FILE, help="Image to search for.")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option(
    "--ef-search",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Candidates among which the nearest are found (default: 200); more take longer and miss "
    "less.",
)
@store_options
@json_option
def search(
    name: str,
    model: str,
    text: str | None,
    image: Path | None,
    limit: int,
    ef_search: int | None,
    table: str | None,
    qdrant: str | None,
    as_json: bool,
) -> None:
    """Search an index by the version whose vectors it has."""
    if (text is None) is (image is None):
        raise click.UsageError("give either --text or --image")
    options = {} if ef_search is None else {"ef_search": ef_search}
    with connected() as client, _opened(name, table, qdrant, **options) as store:
        from perennial.indexes.search import search as find

        found = find(client, store, model, text=text, image=image, limit=limit)
    live = found.live
    if as_json:
        hits = [{"id": one.id, "texts": one.texts, "score": one.score} for one in found.hits]
        print_json({"version": live.version, "digest": live.digest, "hits": hits})
        return
    print_table(
        ("image", "texts", "cosine"),
        [(one.id, ", ".join(one.texts), f"{one.score:.4f}") for one in found.hits],
        title=f"by version {live.version}, digest {live.digest}",
    )


@index.command(epilog=example("perennial index delete shop --model demo"))
@click.argument("name")
@model_option
@click.confirmation_option("--yes", prompt="Delete the index? Its alias then moves freely.")
def delete(name: str, model: str) -> None:
    """Forget an index; its tables stay in the store."""
    with connected() as client:
        client.indexes.delete(model, name)
    click.echo(f"{name} is forgotten. Its vectors are still in the store.")


VERBS = (index,)
