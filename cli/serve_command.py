"""`perennial serve`."""

import click

from cli.operations import operator
from core.loading import loading


@click.command(
    epilog="Settings are read from environment variables PERENNIAL_<NAME>, such as PERENNIAL_HOME "
    "(the data folder, default ./var), PERENNIAL_ADMIN_KEY, PERENNIAL_DATABASE_URL and "
    "PERENNIAL_DEVICE; docs/operations.md lists them all."
)
@click.option("--host", help="Address to bind (default: PERENNIAL_HOST or 127.0.0.1).")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port; 0: any free port (default: PERENNIAL_PORT or 8750).",
)
@operator("api")
def serve(host: str | None, port: int | None) -> int:
    """Run the service.

    Runs the API and, in embedded mode, also a worker and the inference process. Ctrl-C stops all
    of them. On your own machine, each start prints a link that signs you in as admin, and then
    whether updates train on a GPU.
    """
    with loading():
        from api.server import serve as serve_api
        from core.settings import read_settings
    given = {"host": host, "port": port}
    changes = {name: value for name, value in given.items() if value is not None}
    return serve_api(read_settings().model_copy(update=changes))
