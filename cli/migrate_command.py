"""`perennial migrate`."""

import click

from cli.operator import operator


@click.command()
@operator()
def migrate() -> int:
    """Upgrade the database to the newest schema.

    Also creates the S3 bucket, if one is set.
    """
    from core import bootstrap
    from core.settings import Settings

    settings = Settings()
    bootstrap.migrate(settings)
    click.echo("The database schema is up to date.")
    if bootstrap.make_bucket(settings):
        click.echo("Created the bucket.")
    return 0
