"""The server of a bucket that imports read, which fails when it is told to."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from core.settings import ImportBucket
from devtools.ports import free_port
from devtools.servers import CREDENTIALS


def a_bucket() -> ImportBucket:
    """A bucket on a free port of this machine."""
    return ImportBucket(
        name="photos",
        endpoint=f"http://127.0.0.1:{free_port()}",
        region="us-east-1",
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


@dataclass(kw_only=True)
class Fault:
    """A fault of the next objects that are read.

    A `kind` is `cut` (it breaks off within the object), `error` (the answer is 500) or `kill` (it
    breaks off, and the server answers nobody any more).
    """

    kind: str
    after: int  # objects that are answered before
    times: int

    def strikes(self) -> bool:
        """Count the next object; return whether it fails."""
        self.after -= 1
        if self.after >= 0 or self.times == 0:
            return False
        self.times -= 1
        return True


class BucketServer(ThreadingHTTPServer):
    """A server of one bucket in threads of its own."""

    daemon_threads = True

    def __init__(self, bucket: ImportBucket, objects: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", urlsplit(bucket.endpoint).port or 0), _Request)
        self.objects = objects
        self.fault = Fault(kind="cut", after=0, times=0)
        self.one_at_a_time = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self.shutdown()
        self.server_close()


class _Request(BaseHTTPRequestHandler):
    server: BucketServer

    def do_GET(self) -> None:
        """List the objects, or send one of them, from where it is asked for."""
        _, _, key = unquote(urlsplit(self.path).path).strip("/").partition("/")
        if not key:
            self._send(200, self._listing())
            return
        with self.server.one_at_a_time:
            struck, kind = self.server.fault.strikes(), self.server.fault.kind
        data = self.server.objects[key]
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if struck and kind == "error":
            self._send(500, b"<Error><Code>InternalError</Code></Error>")
            return
        self._send(206 if start else 200, data[start:], half=struck)
        if struck and kind == "kill":
            self.server.stop()

    def _send(self, status: int, data: bytes, *, half: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)

    def _listing(self) -> bytes:
        rows = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size>"
            f"<ETag>{hashlib.sha256(data).hexdigest()}</ETag></Contents>"
            for key, data in self.server.objects.items()
        )
        return f"<ListBucketResult>{rows}</ListBucketResult>".encode()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
