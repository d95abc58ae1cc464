"""Small artifacts that are sent to S3 together."""

import tempfile
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from core.domain.values import Digest, sha256
from core.errors import StorageFull, is_full_disk

IN_MEMORY_BYTES = 16 * 1024 * 1024
AT_ONCE = 4  # artifacts that are sent at once; each waits for the network most of the time


class SpoolBatch:
    """The `ArtifactBatch` port over an unnamed file, which no crash leaves behind."""

    def __init__(self, scratch: Path, put: Callable[[bytes], Digest]) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by __exit__
            max_size=IN_MEMORY_BYTES, dir=str(scratch)
        )
        self._put = put
        self._sizes: dict[Digest, int] = {}  # in file order
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, data: bytes) -> Digest:
        """Add bytes to the file and return their digest. Raises StorageFull."""
        digest = sha256(data)
        with self._lock:
            if digest not in self._sizes:
                try:
                    self._file.write(data)
                except OSError as error:
                    if is_full_disk(error):
                        raise StorageFull from error
                    raise
                self._sizes[digest] = len(data)
        return digest

    def commit(self) -> None:
        """Send all artifacts. Raises StorageFull or ArtifactsUnavailable."""
        self._file.seek(0)
        sending = deque[Future[Digest]]()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3-batch") as pool:
            for size in self._sizes.values():
                while len(sending) >= AT_ONCE:
                    sending.popleft().result()
                sending.append(pool.submit(self._put, self._file.read(size)))
            for future in sending:
                future.result()
