"""Downloads that go on where they were interrupted."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from perennial.aio.blocking import entered, in_thread
from perennial.aio.connection import Connection


async def download(
    connection: Connection,
    path: str,
    *,
    digest: str,
    to: Path,
    on_bytes: Callable[[int, int], object] | None,
) -> Path:
    """Write the file at `path` to `to`, which appears once it is whole.

    Until then the bytes are in a file beside it that is named by `digest`, the file's ETag. A
    later call asks only for the bytes that are missing, and for the last one that is there: a
    range always has one byte at least.
    """
    part = to.with_name(f"{to.name}.{digest[:16]}.part")
    part.touch()
    start = max(0, part.stat().st_size - 1)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": f'"{digest}"'}
    async with (
        connection.stream(path, headers=headers) as response,
        entered(part.open("r+b")) as file,
    ):
        if response.status_code != 206:  # the whole file
            start = 0
        file.truncate(start)
        file.seek(start)
        total = start + int(response.headers.get("Content-Length", 0))
        async for piece in response.aiter_raw():
            await in_thread(partial(file.write, piece))
            if on_bytes is not None:
                on_bytes(file.tell(), total)
    return part.replace(to)
