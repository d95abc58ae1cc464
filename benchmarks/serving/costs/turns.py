"""The turns of the measurement: each classifies images, or moves an alias, for a while."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from api.inference.client import Inference
from benchmarks.api.load import load
from benchmarks.serving import bare
from benchmarks.serving.costs.processes import Alterable, api, inference
from benchmarks.serving.costs.variants import OF_IMAGES, OF_MOVES, Variant
from benchmarks.serving.folders import BUNDLED
from benchmarks.serving.second_version import add_version
from benchmarks.serving.served import UNLIMITED, classifying, served, serving
from core.bootstrap import build, close, decoder
from core.settings import Settings
from core.use_cases.inference.classify import Resolved, classification_of
from core.use_cases.registry.image_inputs import ImageInputs
from core.use_cases.registry.model_reference import resolve
from demo.service import Service

MODEL = "tiny"
CLASSES = [f"class {number}" for number in range(10)]
MOVES = 10  # of a turn; an even number leaves the alias where it was
IMAGE, MOVE = "image", "move"


PROCESSES = ("api", "inference", "decoders", "bare")


class Cost(NamedTuple):
    """The CPU seconds that a number of requests took, by process."""

    requests: int
    api: float = 0.0
    inference: float = 0.0
    decoders: float = 0.0
    bare: float = 0.0


class Turn(NamedTuple):
    """Requests of one kind that are measured in turn, and processes whose time differs by it."""

    of: str
    name: str
    take: Callable[[], Cost]
    altered: Sequence[str] = PROCESSES


@dataclass(frozen=True, kw_only=True)
class Site:
    """A home with the bundled model in two versions, and how its processes are started."""

    home: Path
    settings: Mapping[str, str]
    files: Sequence[bytes]
    seconds: float  # of a turn that classifies
    sending: ProcessPoolExecutor

    @classmethod
    def prepared(
        cls,
        home: Path,
        files: Sequence[bytes],
        *,
        threads: int,
        seconds: float,
        sending: ProcessPoolExecutor,
    ) -> "Site":
        """Import the bundled model and add a second version of it."""
        with serving(home, threads) as service:
            served(service, MODEL, "bundled", CLASSES, files[:1])
            add_version(service.home, MODEL)
        settings = {
            **UNLIMITED,
            "PERENNIAL_ADMIN_KEY": service.key,
            "PERENNIAL_INFERENCE_KEY": "pk_" + secrets.token_urlsafe(32),
            "PERENNIAL_THREADS": str(threads),
            "PERENNIAL_MIGRATE_ON_START": "false",
        }
        return cls(
            home=service.home,
            settings=settings,
            files=files,
            seconds=seconds,
            sending=sending,
        )

    def classify(self, service: Service, reference: str, seconds: float) -> int:
        """Have one client classify; return how many images. Raises RuntimeError."""
        targets = classifying(service, reference, CLASSES, self.files)
        done = self.sending.submit(load, targets, 1, seconds).result()
        if done.errors:
            raise RuntimeError(f"{len(done.errors)} requests failed, as {done.errors[0]}")
        return len(done.latencies)


def turns_of(stack: ExitStack, site: Site) -> Sequence[Turn]:
    """Start the processes, have them load both versions, and return the turns."""
    computing = stack.enter_context(inference(site.home, site.settings))
    settings = {**site.settings, "PERENNIAL_INFERENCE_URL": computing.service.url}
    answering = stack.enter_context(api(site.home, settings))
    for reference in (MODEL, f"{MODEL}:2"):
        site.classify(answering.service, reference, 0.0)
    classify = partial(site.classify, answering.service, MODEL, site.seconds)
    move = partial(_move, answering.service)

    def through(of: str, variant: Variant, work: Callable[[], int]) -> Turn:
        take = partial(_through, answering, computing, variant, work)
        altered = ("api", "decoders") if variant.api else ()
        return Turn(of, variant.name, take, altered + (("inference",) if variant.inference else ()))

    return [
        *(through(IMAGE, variant, classify) for variant in OF_IMAGES),
        Turn(IMAGE, "inference called with pixels, no API", _directly(stack, site, computing)),
        Turn(IMAGE, "bare call, one thread", _barely(stack, site)),
        *(through(MOVE, variant, move) for variant in OF_MOVES),
    ]


def _move(service: Service) -> int:
    """Move the alias to version 2 and back; return how often it moved."""
    with service.client() as client:
        for _ in range(MOVES // 2):
            client.aliases.promote(MODEL, 2, reason="measured", override=True)
            client.aliases.roll_back(MODEL, reason="measured")
    return MOVES


def _through(
    answering: Alterable, computing: Alterable, variant: Variant, work: Callable[[], int]
) -> Cost:
    """Have the API process work, as altered; return what it, inference and decoders took."""

    def worked() -> Sequence[float]:
        of_api, decoders = answering.cpu_seconds, answering.cpu_seconds_of_children
        return of_api, computing.cpu_seconds, decoders

    answering.alter(variant.api)
    computing.alter(variant.inference)
    before = worked()
    requests = work()
    return Cost(requests, *(late - early for early, late in zip(before, worked(), strict=True)))


def _directly(stack: ExitStack, site: Site, computing: Alterable) -> Callable[[], Cost]:
    """Return what calls the inference process with pixels, without the API process."""
    settings = Settings(
        home=site.home,
        inference_url=computing.service.url,
        inference_key=SecretStr(computing.service.key),
    )
    platform, client, decoding = build(settings), Inference(settings), decoder(settings)
    for end in (partial(close, platform), client.close, decoding.close):
        stack.callback(end)
    with platform.transactions(read_only=True) as work:
        model, version = resolve(work, MODEL)
    wanted = ImageInputs(platform.artifacts).of(version.digest)
    request = classification_of(Resolved(model=model, version=version, input=wanted), CLASSES)
    images = [decoding.pixels(data, wanted) for data in site.files]

    def turn() -> Cost:
        computing.alter("")
        before, until, requests = computing.cpu_seconds, time.perf_counter() + site.seconds, 0
        while time.perf_counter() < until:
            client.classify(request, [images[requests % len(images)]], top_k=5)
            requests += 1
        return Cost(requests, inference=computing.cpu_seconds - before)

    return turn


def _barely(stack: ExitStack, site: Site) -> Callable[[], Cost]:
    """Return what classifies in a bare loop, one image at a time and by one thread.

    Several would spin while they wait for each other, all the longer the busier the machine is.
    """
    alone = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
    loop = partial(bare.run, BUNDLED, CLASSES, 1, site.files, 1)
    alone.submit(loop, 0.0).result()  # loads the model

    def turn() -> Cost:
        taken = alone.submit(loop, site.seconds).result()
        return Cost(taken.images, bare=taken.cpu)

    return turn
