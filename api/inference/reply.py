"""Replies of the inference process."""

import json
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """The response to a call."""

    status: int
    media_type: str
    content: bytes

    @property
    def is_success(self) -> bool:
        """Return whether the call was answered."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the value of a JSON document."""
        return json.loads(self.content)
