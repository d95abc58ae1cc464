"""The command `perennial`: its own verbs, and those that other distributions add.

A distribution adds a verb by an entry point of the group `perennial.commands`, named as the verb
and pointing at a click command. The service adds its operators' verbs so.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version

import click

from perennial.commands import (
    agents,
    aliases,
    datasets,
    exports,
    indexes,
    inference,
    jobs,
    learning,
    login,
    mlflow,
    models,
    publish,
    reports,
    suites,
    trials,
    verify,
)
from perennial.terminal.output import note
from perennial.terminal.session import ERROR, INTERRUPTED, Failure

GROUP = "perennial.commands"

MODULES = (
    login,
    datasets,
    suites,
    models,
    learning,
    jobs,
    aliases,
    reports,
    trials,
    inference,
    indexes,
    exports,
    publish,
    verify,
    agents,
    mlflow,
)

VERBS: dict[str, click.Command] = {verb.name: verb for module in MODULES for verb in module.VERBS}


class Verbs(click.Group):
    """The verbs; those of other distributions are loaded when they are needed.

    A group of verbs may also be named in the plural: `perennial jobs list`.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all verbs: first the client's, then those of other distributions."""
        added = {point.name for point in entry_points(group=GROUP)}
        return [*VERBS, *sorted(added - VERBS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a verb, or None if there is none of that name."""
        if cmd_name in VERBS:
            return VERBS[cmd_name]
        if isinstance(group := VERBS.get(cmd_name.removesuffix("s")), click.Group):
            return group
        points = entry_points(group=GROUP, name=cmd_name)
        return next((point.load() for point in points), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb of a command line. Raises NoSuchCommand, which names similar ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            names = self.list_commands(ctx)
            raise click.exceptions.NoSuchCommand(error.command_name, None, names, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs with what they do, those of other distributions by themselves."""
        names = self.list_commands(ctx)
        split = len(VERBS)
        for title, part in (("Commands", names[:split]), ("On the server", names[split:])):
            found = [(name, self.get_command(ctx, name)) for name in part]
            rows = [(name, one.get_short_help_str(80)) for name, one in found if one is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`perennial COMMAND --help` shows what a command takes, with an example. Exit codes: 0 "
    "done, 1 error, 2 wrong usage, 3 the gate did not pass the version, 4 the job failed or was "
    "cancelled, 5 no service answers.",
)
@click.version_option(version("perennial-client"), prog_name="perennial")
def perennial() -> None:
    """Teach CLIP models new classes without forgetting the old ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        code = perennial.main(arguments, prog_name="perennial", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Failure as failure:
        note(f"perennial: {failure.message}")
        return failure.exit_code
    except click.Abort as error:
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        if not interrupted:  # a question was answered with no, or not at all
            note("perennial: Nothing was done.")
        return INTERRUPTED if interrupted else ERROR
    except BrokenPipeError:  # whoever reads the output has enough
        sys.stdout = None
        return ERROR
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        note(f"perennial: {place}{error.strerror or error}")
        return ERROR
    return code if isinstance(code, int) else 0
