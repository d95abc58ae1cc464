"""Settings that are refused at the start."""

import pytest
from pydantic import ValidationError

from core.settings import Settings


@pytest.mark.parametrize("origin", ["studio.example", "https://a.example/", "https://*.example"])
def test_an_origin_that_no_browser_sends_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ValidationError):
        Settings(cors_origins=(origin,))
