"""The parts that the operators' commands share: errors, privacy and the log."""

from collections.abc import Callable
from functools import wraps
from typing import IO, Any

import click

from core.loading import loading


class Refused(click.ClickException):
    """An error of the service, as the error of a command."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        click.echo(f"perennial: {self.message}", file=file, err=file is None)


def operator(process: str = "command") -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator of a command that works on the service's own data.

    New files are private, the environment is hidden, the log names the process, and errors of the
    service are printed. Commands import what they need when they run, so that help is fast.
    """

    def decorate(run: Callable[..., int]) -> Callable[..., int]:
        @wraps(run)
        def run_privately(**chosen: Any) -> int:
            with loading():
                from core import bootstrap, logs
                from core.errors import PerennialError
                from core.secrecy import hide_environment
                from core.settings import Settings
            bootstrap.keep_private()
            hide_environment()
            logs.configure(Settings(), process=process)
            try:
                return run(**chosen)
            except PerennialError as error:
                raise Refused(error.message) from error

        return run_privately

    return decorate
