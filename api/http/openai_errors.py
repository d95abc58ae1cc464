"""The member of an error that OpenAI's clients read, beside the problem document.

They show `error.message` and nothing else of a body.
"""

from typing import Any

PATH = "/v1/embeddings"  # the operation in the shape of OpenAI's API


def openai_error(*, code: str, detail: str, pointer: str | None) -> dict[str, Any]:
    """Return the `error` of a body in the shape of OpenAI's API."""
    return {"message": detail, "type": "perennial_error", "param": pointer, "code": code}
