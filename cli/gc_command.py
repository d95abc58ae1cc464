"""`perennial gc`: the same as `POST /v1/gc`, with or without a running service."""

import argparse
import sys

from pydantic import ValidationError

from api.schemas.gc import CollectionView, NewCollection
from core import bootstrap
from core.domain.access.principal import COMMAND_LINE
from core.errors import FieldInvalid
from core.settings import Settings
from core.use_cases.storage.gc import collect_garbage


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a NewCollection's fields as options; an absent option leaves the field's default."""
    fields = NewCollection.model_fields
    parser.add_argument("--dry-run", action="store_true", help=fields["dry_run"].description)
    for name, kind in (("older_than_hours", float), ("keep_last", int)):
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=kind, help=fields[name].description)
    parser.add_argument(
        "--versions-older-than-days", type=float, help="see --keep-last (default: 30)"
    )


def run(chosen: argparse.Namespace) -> int:
    """Collect and print the result as JSON; return 1 if any list could not be read."""
    given = {
        name: value
        for name in NewCollection.model_fields
        if (value := getattr(chosen, name)) is not None
    }
    try:
        order = NewCollection(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise FieldInvalid(f"{first['loc'][0]}: {first['msg']}") from error
    platform = bootstrap.build(Settings())
    try:
        collected = collect_garbage(
            platform,
            COMMAND_LINE,
            grace=order.grace,
            retention=order.retention(platform.clock()),
            dry_run=order.dry_run,
        )
    finally:
        bootstrap.close(platform)
    sys.stdout.write(CollectionView.of(collected).model_dump_json(indent=2) + "\n")
    return 1 if collected.unreadable else 0
