"""Receive forms with files, and process each file while the next one arrives."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from anyio.to_thread import run_sync
from starlette.requests import Request

from api.dependencies import Services
from api.http.forms.multipart import Part, read_parts
from core.domain.values import sha256
from core.errors import FieldInvalid, FieldUnknown, FileTooLarge

# Files being processed at once; the next waits, which slows the client down. Two are decoded while
# others are stored or wait, so that no decoder is idle. Of the largest files only two.
IN_FLIGHT = 4
LARGEST_IN_FLIGHT = 2

T = TypeVar("T")


@dataclass(kw_only=True)
class Form(Generic[T]):
    """A received form: its text fields, and the result for each file in the order sent."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[T] = field(default_factory=list)
    fingerprint: list[Sequence[str | None]] = field(default_factory=list)  # without the boundary


async def receive_form(
    request: Request,
    services: Services,
    work: Callable[[Part], T],
    *,
    fields: Sequence[str] = (),
) -> Form[T]:
    """Read a form as it arrives, and call `work` in a thread for each file.

    Raises FieldUnknown for a text field that is not among `fields`, FieldInvalid for one that
    is sent twice, and what `work` and `read_parts` raise. No call of `work` is still running when
    this function returns or raises.
    """
    form: Form[T] = Form()
    settings = services.platform.settings
    pending: deque[asyncio.Task[T]] = deque()
    sizes: deque[int] = deque()  # of the files that are pending
    try:
        async for part in read_parts(request, settings):
            form.fingerprint.append((part.name, part.file_name, sha256(part.data)))
            if part.file_name is None:
                text = _text_field(part, fields)
                if part.name in form.fields:
                    raise FieldInvalid("Send this field once.", pointer=f"/{part.name}")
                form.fields[part.name] = text
                continue
            sizes.append(len(part.data))
            most_bytes = LARGEST_IN_FLIGHT * settings.max_file_bytes
            while len(pending) == IN_FLIGHT or sum(sizes) > most_bytes:
                form.files.append(await pending.popleft())
                sizes.popleft()
            pending.append(asyncio.create_task(run_sync(work, part, limiter=services.decoding)))
        while pending:
            form.files.append(await pending.popleft())
    finally:
        await asyncio.gather(*pending, return_exceptions=True)
    return form


def data_of(part: Part) -> bytes:
    """Return the bytes of a file. Raises FileTooLarge."""
    if part.too_large:
        raise FileTooLarge
    return part.data


def text_field(fields: Mapping[str, str], name: str) -> str | None:
    """Return a text field, or None if it was not sent or is empty."""
    return fields.get(name) or None


def _text_field(part: Part, fields: Sequence[str]) -> str:
    if part.name not in fields:
        raise FieldUnknown(
            f"This form has no text field {part.name[:100]!r}; a file needs a file name.",
            pointer=f"/{part.name[:100]}",
        )
    try:
        return data_of(part).decode()
    except UnicodeDecodeError as error:
        raise FieldInvalid("A text field must be UTF-8.", pointer=f"/{part.name}") from error
