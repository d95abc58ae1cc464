"""`perennial key`."""

import click

from cli.operator import operator


@click.command()
@click.option(
    "--revoke-others",
    is_flag=True,
    help="Print no key; revoke all keys except the one in PERENNIAL_ADMIN_KEY.",
)
@operator()
def key(revoke_others: bool) -> int:
    """Print a new admin key, or revoke the old ones.

    The key is for PERENNIAL_ADMIN_KEY. Once the service has been started with it, both it and the
    earlier keys are accepted.
    """
    from core.use_cases.access.authenticate import make_key

    if not revoke_others:
        click.echo(make_key())
        return 0
    click.echo(f"Keys revoked: {_revoke_others()}.")
    return 0


def _revoke_others() -> int:
    from api.startup_checks import require_safe
    from core import bootstrap
    from core.domain.access.principal import COMMAND_LINE
    from core.settings import Settings
    from core.use_cases.access.bootstrap_keys import revoke_other_keys

    settings = Settings()
    require_safe(settings)
    platform = bootstrap.build(settings)
    try:
        return revoke_other_keys(platform.on_behalf_of(COMMAND_LINE))
    finally:
        bootstrap.close(platform)
