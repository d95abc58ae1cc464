"""docs/limits.md names every limit that is a setting, with its default."""

import re

from core.settings import Settings
from tests.support.places import ROOT

ROW = re.compile(r"^\| `PERENNIAL_(\w+)` \| `(\S+)` \|", flags=re.MULTILINE)
LIMIT = re.compile(r"max_|min_|rate_|receive_|keep_alive_|decode_")


def test_every_limit_stands_there_with_its_default() -> None:
    told = ROW.findall((ROOT / "docs/limits.md").read_text("utf-8"))
    defaults = {name: str(field.default) for name, field in Settings.model_fields.items()}
    assert sorted(told) == sorted(
        (name.upper(), value) for name, value in defaults.items() if LIMIT.match(name)
    )
