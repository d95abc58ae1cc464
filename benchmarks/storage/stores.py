"""The measured stores, each with a baseline that moves the same bytes on the same medium."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from core.adapters.artifacts.local import LocalArtifacts
from core.adapters.artifacts.s3 import S3Artifacts
from core.adapters.artifacts.s3_client import S3Location
from core.ports import Artifacts
from devtools.servers.s3 import CREDENTIALS, s3_server


@dataclass(frozen=True, kw_only=True)
class Way:
    """A store, and a baseline that writes and reads the same bytes on the same medium."""

    name: str
    fresh: Callable[[], Artifacts]  # an empty store
    write: Callable[[], object]
    read: Callable[[], object]


@contextmanager
def folder_store(state: Mapping[str, Tensor]) -> Iterator[Way]:
    """Yield a local store; the baseline copies one file and hashes it."""
    with tempfile.TemporaryDirectory(prefix="perennial-storage-") as name:
        home = Path(name)
        source, target = home / "source", home / "target"
        with source.open("wb") as file:
            for tensor in state.values():
                file.write(tensor.numpy())  # type: ignore[arg-type]
            os.fsync(file.fileno())

        def fresh() -> Artifacts:
            shutil.rmtree(home / "store", ignore_errors=True)
            return LocalArtifacts(home / "store")

        def copy() -> None:
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
            _hash_of(source)

        yield Way(name="folder", fresh=fresh, write=copy, read=copy)


@contextmanager
def s3_store(state: Mapping[str, Tensor]) -> Iterator[Way]:
    """Yield a store on a temporary S3 server; the baseline sends, gets and hashes each tensor."""
    os.environ.update(CREDENTIALS)
    with s3_server() as (url, _), tempfile.TemporaryDirectory() as scratch:
        place = S3Location.of("s3://plain", scratch=Path(scratch), endpoint=url, region="")
        client = place.connect().usual
        client.create_bucket(Bucket="plain")
        buckets = iter(range(1000))
        stores: list[S3Artifacts] = []

        def fresh() -> Artifacts:
            name = f"store{next(buckets)}"
            client.create_bucket(Bucket=name)
            stores.append(S3Artifacts(replace(place, bucket=name)))
            return stores[-1]

        def send() -> None:
            for name, tensor in state.items():
                data = tensor.numpy().tobytes()
                client.put_object(Bucket="plain", Key=name, Body=data)
                hashlib.sha256(data).hexdigest()

        def fetch() -> None:
            for name in state:
                data = client.get_object(Bucket="plain", Key=name)["Body"].read()
                hashlib.sha256(data).hexdigest()

        yield Way(name="s3", fresh=fresh, write=send, read=fetch)
        for store in stores:
            store.close()


def _hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
