"""`perennial completion`: a script that completes commands in a shell."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from perennial.terminal.arguments import example

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
