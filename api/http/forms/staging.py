"""Staging area for the images of a form, until the whole form has proved valid."""

import tempfile
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from core.domain.values import Digest, sha256
from core.errors import StorageFull
from core.ports import Artifacts

IN_MEMORY_BYTES = 16 * 1024 * 1024
AT_ONCE = 4  # images that are stored at once; each waits for the disk most of the time


class Staging:
    """Images in their stored form in an unnamed temporary file, which no crash leaves behind."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by __exit__
            max_size=IN_MEMORY_BYTES, dir=str(folder)
        )
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

    def keep(self, data: bytes) -> Digest:
        """Add bytes to the file and return their digest. Raises StorageFull."""
        digest = sha256(data)
        with self._lock:
            if digest not in self._sizes:
                try:
                    self._file.write(data)
                except OSError as error:
                    raise StorageFull from error
                self._sizes[digest] = len(data)
        return digest

    def store(self, artifacts: Artifacts) -> None:
        """Put all staged bytes into the artifact store. Raises StorageFull."""

        def put(data: bytes) -> Digest:
            return artifacts.put(data)

        self._file.seek(0)
        storing = deque[Future[Digest]]()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store") as pool:
            for size in self._sizes.values():
                while len(storing) >= AT_ONCE:
                    storing.popleft().result()
                storing.append(pool.submit(put, self._file.read(size)))
            for future in storing:
                future.result()
