"""Classification by the service beside bare loops of torch and of the engine that serves.

Clients keep their connections and send one JPEG at a time, to the bundled model and to a ViT-B/32
with random weights, in fp32 and in bf16. The bare loops classify the same JPEGs on the same cores,
in batches of the size that suits each best; torch, in fp32, also one at a time. Each of several
rounds measures everything once; a ratio is the median over rounds of a value divided by a bare
loop's in the same round: images a second by those of the best batches (of the engine that is
fastest so, in the version's precision), the wait for an answer by torch's for a single image. On a
busy machine CPU seconds for an image, of all processes but the clients', are the most reliable
value.
"""

import argparse
import json
import multiprocessing
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import open_clip
import torch
from safetensors.torch import save_file

from benchmarks.api.scene import Target, load
from benchmarks.ingest import write_jpegs
from benchmarks.serving import bare
from benchmarks.serving.ab import by_ab
from benchmarks.serving.bare import Taken
from core.clip.bases import read_folder
from core.clip.model import ClipModel
from core.engines.opening import engines_here
from core.exporting.huggingface import write_huggingface
from core.exporting.onnx import write_onnx
from core.registry.versions import ServingPrecision
from demo.service import Service, running_service
from devtools.process_memory import cpu_seconds

# Folders with the models that are served.


BUNDLED = Path(__file__).parents[2] / "models" / "tiny"


def write_random(folder: Path, name: str) -> None:
    """Write an architecture of open_clip's with random weights."""
    torch.manual_seed(0)
    network = open_clip.create_model(name)
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def write_huggingface_of(source: Path, folder: Path) -> None:
    """Write the model of an open_clip folder as transformers reads it."""
    config, network = read_folder(source)
    folder.mkdir(parents=True)
    write_huggingface(ClipModel.build(config, network.state_dict(), torch.device("cpu")), folder)


def write_onnx_of(source: Path, folder: Path) -> None:
    """Write the model of an open_clip folder as any ONNX runtime reads it."""
    config, network = read_folder(source)
    folder.mkdir(parents=True)
    write_onnx(ClipModel.build(config, network.state_dict(), torch.device("cpu")), folder)


# The service that is measured, with the models that it serves.


PYTHON, AB = "python", "ab"  # what sends

UNLIMITED = {"PERENNIAL_RATE_REQUESTS": str(10**9)}  # all clients have one key


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model that the service serves, and requests to classify one image each."""

    service: Service
    precision: ServingPrecision
    targets: Sequence[Target]

    def run(self, clients: int, seconds: float, sender: str = PYTHON) -> Taken:
        """Have clients classify one image after the other; call this in another process.

        Raises RuntimeError if a request failed.
        """
        if sender == AB:
            return by_ab(self.targets[0], clients, seconds)
        worked = cpu_seconds(self.service.pid)
        taken = load(self.targets, clients, seconds)
        if taken.errors:
            raise RuntimeError(f"{len(taken.errors)} requests failed, as {taken.errors[0]}")
        return Taken(
            images=len(taken.latencies),
            answers=taken.latencies,
            seconds=taken.seconds,
            cpu=cpu_seconds(self.service.pid) - worked,
        )


@contextmanager
def serving(home: Path, threads: int) -> Iterator[Service]:
    """Run the service within the context; it may read models below `home`."""
    settings = {
        **UNLIMITED,
        "PERENNIAL_THREADS": str(threads),
        "PERENNIAL_ROOT_FOLDERS": json.dumps([str(home)]),
    }
    with running_service(home / "service", **settings) as service:
        yield service


def served(
    service: Service, name: str, base: str, classes: Sequence[str], files: Sequence[bytes]
) -> Served:
    """Import a model and return the requests to it."""
    with service.client() as client:
        client.jobs.wait(client.models.create(name, base=base)["id"])
    targets = classifying(service, name, classes, files)
    return Served(service=service, precision=ServingPrecision.FP32, targets=targets)


def converted(
    service: Service, name: str, precision: ServingPrecision, files: Sequence[bytes]
) -> Served:
    """Make a version in a precision, and return the requests to it."""
    with service.client() as client:
        client.jobs.wait(client.jobs.order_conversion(model=name, precision=precision.value)["id"])
    targets = classifying(service, f"{name}:2", CLASSES, files)
    return Served(service=service, precision=precision, targets=targets)


def classifying(
    service: Service, reference: str, classes: Sequence[str], files: Sequence[bytes]
) -> Sequence[Target]:
    """Return requests to classify one image each."""
    api = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"})
    requests = (
        api.build_request(
            "POST",
            f"/v1/models/{reference}/classify",
            files=[("images", ("photograph.jpg", data, "image/jpeg"))],
            data={"classes": json.dumps(classes)},
        )
        for data in files
    )
    return [Target.of(reference, service.pid, request) for request in requests]


ARCHITECTURES = {"tiny": "bundled", "vit_b_32": "ViT-B-32"}

MODELS = tuple(ARCHITECTURES)

BATCHES = (8, 16, 32, 64)

CLASSES = [f"class {number}" for number in range(10)]

IMAGES = 64

BATCHED, SINGLE, ENGINE = "bare torch, best batch", "bare torch, one image", "bare engine: "

Run = Callable[[float], Taken]  # in a process of its own, for some seconds


def runs_of(served: Served, folder: Path, clients: Sequence[int], given: "Given") -> dict[str, Run]:
    """Return what is measured in each round, the baselines first; torch is in fp32 always."""

    def bare_run(engine: str, batch: int, seconds: float) -> Taken:
        loop = partial(bare.run, engine, folder, CLASSES, given.threads, given.files)
        return given.computing.submit(loop, batch, seconds).result()

    def best_of(engine: str) -> int:
        bare_run(engine, 1, 0.0)  # loads the model
        return max(BATCHES, key=lambda size: bare_run(engine, size, given.seconds).rate)

    by_torch = best_of(bare.TORCH)
    engines = {name: best_of(name) for name in bare.bare_engines(served.precision)}

    def served_run(number: int, seconds: float) -> Taken:
        return given.sending.submit(served.run, number, seconds, given.sender).result()

    return {
        f"{BATCHED} ({by_torch})": partial(bare_run, bare.TORCH, by_torch),
        SINGLE: partial(bare_run, bare.TORCH, 1),
        **{
            f"{ENGINE}{name}, best batch ({size})": partial(bare_run, name, size)
            for name, size in engines.items()
        },
        **{f"served, {number} at once": partial(served_run, number) for number in clients},
    }


class Given:
    """Models and images that all are measured with."""

    def __init__(self, arguments: argparse.Namespace, files: Sequence[bytes]) -> None:
        spawning = multiprocessing.get_context("spawn")
        self.files = files
        self.seconds: float = arguments.seconds
        self.rounds: int = arguments.rounds
        self.sender: str = arguments.sender
        self.threads: int = arguments.threads
        self.computing = ProcessPoolExecutor(1, mp_context=spawning)  # the bare loop
        self.sending = ProcessPoolExecutor(1, mp_context=spawning)  # the clients


def measure(runs: dict[str, Run], rounds: int, seconds: float) -> dict[str, list[Taken]]:
    """Measure everything once per round; the first round warms up."""
    results: dict[str, list[Taken]] = defaultdict(list)
    for number in range(rounds + 1):
        for name, run in runs.items():
            taken = run(seconds)
            if number:
                results[name].append(taken)
    return results


def rows_of(model: str, results: dict[str, list[Taken]]) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each thing measured."""
    batched, single, *_ = results.values()
    engines = [
        taken for name, taken in results.items() if name.startswith("bare") and "torch" not in name
    ]
    engine = max(engines, key=lambda taken: median(one.rate for one in taken))
    for name, taken in results.items():
        yield {
            "model": model,
            "classified by": name,
            "images": sum(one.images for one in taken),
            "images/s": median(one.rate for one in taken),
            "p50 ms": 1000 * median(one.p50 for one in taken),
            "p99 ms": 1000 * median(one.p99 for one in taken),
            "CPU ms": 1000 * median(one.cpu_per_image for one in taken),
            "images/s : torch": _ratio(taken, batched, lambda one: one.rate),
            "images/s : engine": _ratio(taken, engine, lambda one: one.rate),
            "p50 : one image": _ratio(taken, single, lambda one: one.p50),
            "CPU : torch": _ratio(taken, batched, lambda one: one.cpu_per_image),
        }


def _ratio(ours: Sequence[Taken], bare: Sequence[Taken], of: Callable[[Taken], float]) -> float:
    return median(of(one) / of(other) for one, other in zip(ours, bare, strict=True))


def bench_classify(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each model beside the bare loop."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perennial-serving-")))
        files = [path.read_bytes() for path in write_jpegs(home / "jpegs", IMAGES, arguments.side)]
        given = Given(arguments, files)
        stack.enter_context(given.computing)
        stack.enter_context(given.sending)
        service = stack.enter_context(serving(home, arguments.threads))
        for model in arguments.models:
            folder, base = BUNDLED, "bundled"
            if model != "tiny":
                folder = home / model
                given.computing.submit(write_random, folder, "ViT-B-32").result()
                base = str(folder)
            targets = [served(service, model, base, CLASSES, files)]
            if engines_here(ServingPrecision.BF16):
                targets.append(converted(service, model, ServingPrecision.BF16, files))
            for target in targets:
                runs = runs_of(target, folder, arguments.clients, given)
                found = measure(runs, arguments.rounds, arguments.seconds)
                rows += rows_of(f"{model} {target.precision}", found)
    return rows
