"""`perennial mcp`: the service's verbs as tools for agents."""

import socket
from pathlib import Path

import click

from perennial.terminal.arguments import FOLDER, example
from perennial.terminal.output import note
from perennial.terminal.session import Failure, current, current_url


def address(text: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:8751` or `[::1]:8751`. Raises BadParameter."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter("give HOST:PORT, as in 127.0.0.1:8751")
    return host.strip("[]"), int(port)


@click.command(
    epilog=example(
        "perennial mcp --folder ~/pictures",
        "perennial mcp --folder /srv/pictures --http 127.0.0.1:8751",
    )
)
@click.option(
    "--folder",
    "folders",
    multiple=True,
    type=FOLDER,
    help="Folder that agents may have images read from, with all below it; may be repeated.",
)
@click.option(
    "--http",
    "listen",
    type=address,
    metavar="HOST:PORT",
    help="Answer at http://HOST:PORT/mcp, each caller with its own key as the bearer token "
    "(default: standard input and output, with the key of this login).",
)
def mcp(folders: tuple[Path, ...], listen: tuple[str, int] | None) -> None:
    """Serve agents: models, jobs and reports as tools of MCP.

    An agent's program starts it, or is given its address. What moves an alias asks a person first,
    by that program, and is refused where the program cannot ask.
    """
    try:
        from perennial.agents.folders import Folders
        from perennial.agents.server import http_app, make_server, run_stdio
        from perennial.agents.service import Service
    except ImportError as error:
        raise Failure("mcp needs another package: pip install 'perennial-client[mcp]'") from error
    allowed = Folders(folders)
    if listen is None:
        login = current()
        run_stdio(make_server(Service(url=login.url, key=login.key, folders=allowed)))
        return
    import uvicorn

    app = http_app(make_server(Service(url=current_url(), key=None, folders=allowed)))
    with socket.create_server(listen, family=_family(listen[0])) as bound:
        host, port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        note(f"Agents are answered at http://{shown}:{port}/mcp, and Ctrl-C ends this.")
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[bound])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


VERBS = (mcp,)
