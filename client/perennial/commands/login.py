"""`perennial login`, `logout`, `whoami` and `completion`."""

import sys
from urllib.parse import urlsplit

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from perennial.terminal import session
from perennial.terminal.arguments import example
from perennial.terminal.output import json_option, note, print_fields, print_json
from perennial.terminal.session import (
    DEFAULT_URL,
    HERE,
    Failure,
    Login,
    address_of,
    connected,
    current,
    forget,
    store,
)


@click.command(
    epilog=example("perennial login 127.0.0.1:8750", "perennial login clip.example < key.txt")
)
@click.argument("url", required=False)
def login(url: str | None) -> None:
    """Check an address and a key, and store them.

    An address without http:// or https:// is http on this machine and https elsewhere. Asks for
    what is not given; without a terminal, the key is read from standard input. The key is
    stored in a file that only you may read. PERENNIAL_URL and PERENNIAL_KEY take precedence over
    it.
    """
    terminal = sys.stdin.isatty()
    known = session.stored()
    proposed = known.url if known else DEFAULT_URL
    if url is None:
        url = click.prompt("Address of the service", default=proposed) if terminal else proposed
    key = click.prompt("Key", hide_input=True) if terminal else sys.stdin.readline()
    if not key.strip():
        raise Failure("There is no key on standard input.")
    chosen = Login(url=address_of(url), key=key.strip())
    with connected(chosen) as client:
        holder = client.principal()
    place = store(chosen)
    parts = urlsplit(chosen.url)
    if parts.scheme == "http" and parts.hostname not in HERE:
        note("Warning: without https, others on the network can read the key.")
    click.echo(f"Logged in to {chosen.url} as {holder['name']} ({holder['role']}).")
    click.echo(f"The key is stored in {place}.")


@click.command(epilog=example("perennial logout"))
def logout() -> None:
    """Delete the stored address and key. The key itself stays valid."""
    forget()
    click.echo("Logged out.")


@click.command(epilog=example("perennial whoami"))
@json_option
def whoami(as_json: bool) -> None:
    """Show the service, whose key is in use, and what it may do."""
    chosen = current()
    with connected(chosen) as client:
        holder = client.principal()
    if as_json:
        print_json({"url": chosen.url, **holder})
        return
    models = "all" if holder["models"] is None else ", ".join(holder["models"])
    print_fields(
        [
            ("service", chosen.url),
            ("name", holder["name"]),
            ("role", holder["role"]),
            ("models", models),
        ]
    )


# `perennial completion`: a script that completes commands in a shell.

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    epilog=example(
        "perennial completion bash > ~/.local/share/bash-completion/completions/perennial",
        "perennial completion zsh > ~/.zfunc/_perennial",
        "perennial completion fish > ~/.config/fish/completions/perennial.fish",
    )
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes `perennial` in a shell."""
    command = context.find_root().command
    click.echo(SHELLS[shell](command, {}, "perennial", "_PERENNIAL_COMPLETE").source())


VERBS = (login, logout, whoami, completion)
