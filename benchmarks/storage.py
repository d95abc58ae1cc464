"""Measure the cost of storing versions: `make bench-storage`.

A version with the tensors of ViT-B/32 (605 MB of random fp32) is published and loaded several
times, each time in turn with a baseline that moves the same bytes: on a local folder a copy of one
file plus SHA-256; on S3 the bare requests of the same client, tensor by tensor, plus SHA-256.
It also measures the bytes that an update of the small model's image tower adds to the store, and
those that publishing it a second time adds.

    python -m benchmarks.storage --repeats 5
    python -m benchmarks.storage --stores folder --model ViT-B-16
"""

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import open_clip
import torch
from torch import Tensor

from benchmarks.output import NullMonitor, show, stored_pictures
from benchmarks.output import publish as publish_table
from core.artifacts.local import LocalArtifacts
from core.artifacts.s3 import S3Artifacts
from core.artifacts.s3_requests import S3Location
from core.artifacts.store import Artifacts
from core.clip.bases import BaseImporter
from core.clip.model import empty_network, publish, read_state
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import ModelPart, Precision, PromptTemplate
from core.recipes.rules import Recipe
from core.registry.versions import Weights
from core.training.trainer import TrainingSpec
from devtools.servers import CREDENTIALS, s3_server

# The bytes that an update of the small model's image tower adds to a store.


CLASSES = ("cat", "dog")

IMAGES = 8

RECIPE = Recipe(part=ModelPart.IMAGE, epochs=1, batch_size=4, precision=Precision.FP32)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The size of a version and the growth of the store by the next ones, in bytes."""

    version: int  # the parent's tensors
    tower: int  # its image tower's, with the logit scale, which every part trains
    update: int  # added by an update of that tower: tensors alone
    listed: int  # added by it too: the list of its tensors, whose digest is the version's
    again: int  # added when the updated version is published once more


def measure_growth(artifacts: Artifacts) -> Growth:
    """Update the bundled model's image tower with two classes and publish the result twice."""
    parent, prompt = BaseImporter(artifacts).load("bundled", NullMonitor())
    spec = TrainingSpec(
        parent=parent.digest,
        root=parent.digest,
        recipe=RECIPE,
        classes=CLASSES,
        learned=(),
        open_classes=(),
        images=stored_pictures(artifacts, CLASSES * (IMAGES // len(CLASSES)), side=64),
        prompt=PromptTemplate(prompt),
    )
    trainer = UpdateTrainer(artifacts, device=torch.device("cpu"), threads=1)
    before = size_of(artifacts)
    updated = trainer.train(spec, resume=None, monitor=NullMonitor()).weights
    after = size_of(artifacts)
    state = read_state(updated, artifacts)
    again = publish(updated.config, state, artifacts, lambda *_: None)
    assert again.digest == updated.digest != parent.digest
    listed = len(updated.to_bytes())
    return Growth(
        version=parent.size,
        tower=tower_size(parent),
        update=after - before - listed,
        listed=listed,
        again=size_of(artifacts) - after,
    )


def size_of(artifacts: Artifacts) -> int:
    """Return the number of bytes in a store."""
    return sum(row.size for row in artifacts.stored())


def tower_size(weights: Weights) -> int:
    """Return the number of bytes that an update of the image tower may change."""
    return sum(
        tensor.size
        for tensor in weights.tensors
        if tensor.name == "logit_scale" or tensor.name.startswith("visual.")
    )


# The measured stores, each with a baseline that moves the same bytes on the same medium.


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


MEGABYTE = 1e6


class Seconds(NamedTuple):
    """Wall-clock time and this process's CPU time, which is more reliable on a busy machine."""

    wall: float
    cpu: float


def random_state(model: str) -> dict[str, Tensor]:
    """Return random tensors with the names and shapes of an open_clip model."""
    with torch.device("meta"):
        shapes = empty_network({"model_cfg": open_clip.get_model_config(model)}).state_dict()
    chance = torch.Generator().manual_seed(0)
    return {name: torch.randn(like.shape, generator=chance) for name, like in shapes.items()}


def timed(act: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Call a function; return the seconds it took and its result."""
    began, worked = time.perf_counter(), time.process_time()
    result = act()
    return Seconds(time.perf_counter() - began, time.process_time() - worked), result


def measure(way: Way, state: Mapping[str, Tensor], repeats: int) -> dict[str, list[Seconds]]:
    """Time every operation `repeats` times and check that the loaded bits are the same."""
    seconds: dict[str, list[Seconds]] = {"write": [], "publish": [], "read": [], "load": []}
    for _ in range(repeats):
        store = way.fresh()
        seconds["write"].append(timed(way.write)[0])
        took, weights = timed(lambda: publish({}, state, store, lambda *_: None))  # noqa: B023
        seconds["publish"].append(took)
        seconds["read"].append(timed(way.read)[0])
        took, back = timed(lambda: read_state(weights, store))  # noqa: B023
        seconds["load"].append(took)
        assert all(torch.equal(back[name], state[name]) for name in state)
        del back
    return seconds


def rates(store: str, megabytes: float, seconds: dict[str, list[Seconds]]) -> list[dict[str, Any]]:
    """Return rows for publish and load: their rates, and the ratios to the baseline's."""
    rows = []
    for plain, ours in (("write", "publish"), ("read", "load")):
        pairs = list(zip(seconds[plain], seconds[ours], strict=True))
        ratios = [p.wall / o.wall for p, o in pairs]
        rows.append(
            {
                "store": store,
                "what": ours,
                "plain MB/s": megabytes / median(p.wall for p, _ in pairs),
                "MB/s": megabytes / median(o.wall for _, o in pairs),
                "ratio": median(ratios),
                "worst": min(ratios),
                "best": max(ratios),
                "ratio by CPU": median(p.cpu / o.cpu for p, o in pairs),
            }
        )
    return rows


def main() -> None:
    """Measure the chosen stores and publish the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.storage", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--stores", nargs="+", choices=["folder", "s3"], default=["folder", "s3"])
    parser.add_argument(
        "--model", default="ViT-B-32", help="open_clip architecture of the stored version"
    )
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each operation")
    given = parser.parse_args()
    state = random_state(given.model)
    megabytes = sum(tensor.nbytes for tensor in state.values()) / MEGABYTE
    rows, growths, seconds = [], [], {}
    for name, opened in (("folder", folder_store), ("s3", s3_store)):
        if name in given.stores:
            with opened(state) as way:
                growths.append({"store": name, **asdict(measure_growth(way.fresh()))})
                seconds[name] = measure(way, state, given.repeats)
            rows += rates(name, megabytes, seconds[name])
    show("bytes: the small model, and what an update of its image tower adds", growths)
    publish_table(
        "storage",
        rows,
        model=given.model,
        megabytes=megabytes,
        repeats=given.repeats,
        seconds=seconds,
        growth=growths,
    )


if __name__ == "__main__":
    main()
