"""The server of a bucket that imports read, which fails when it is told to."""

from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx

from core.artifacts.s3_requests import S3Access
from core.settings import ImportBucket
from devtools.ports import free_port
from devtools.servers import CREDENTIALS, s3_server


def a_bucket() -> ImportBucket:
    """A bucket on a free port of this machine."""
    return ImportBucket(
        name="photos",
        endpoint=f"http://127.0.0.1:{free_port()}",
        region="us-east-1",
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


class BucketServer:
    """The server, with the same objects each time that it starts."""

    def __init__(self, bucket: ImportBucket, objects: dict[str, bytes], stack: ExitStack) -> None:
        self._bucket = bucket
        self._objects = objects
        self._stack = stack
        self._start()

    def fail(self, kind: str, *, after: int, times: int) -> None:
        """Have it fail, as `failing_s3` says, once so many objects have been read."""
        told = {"kind": kind, "after": after, "times": times}
        url = f"{self._bucket.endpoint}/fault"
        httpx.post(url, params=told, trust_env=False).raise_for_status()

    def mend(self) -> None:
        """Have it answer again."""
        if self._process.poll() is None:
            self.fail("none", after=0, times=0)
        else:
            self._stack.close()
            self._start()

    def _start(self) -> None:
        port = urlsplit(self._bucket.endpoint).port
        url, self._process = self._stack.enter_context(
            s3_server("tests.nightly.faults.failing_s3", port=port)
        )
        access = S3Access(
            endpoint=url,
            access_key_id=self._bucket.access_key_id.get_secret_value(),
            secret_access_key=self._bucket.secret_access_key.get_secret_value(),
        )
        client = access.client(1)
        client.create_bucket(Bucket=self._bucket.name)
        for key, data in self._objects.items():
            client.put_object(Bucket=self._bucket.name, Key=key, Body=data)
        client.close()
