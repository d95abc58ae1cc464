"""The turns of the measurement: each classifies images, or moves an alias, for a while."""

import argparse
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import psutil
from pydantic import SecretStr

from api.inference_client.client import Inference
from benchmarks.api.scene import load
from benchmarks.ingest import write_jpegs
from benchmarks.serving import bare
from benchmarks.serving.classify import BUNDLED, UNLIMITED, classifying, served, serving
from benchmarks.serving.moves import add_version
from core.bootstrap import build, close, decoder
from core.inference.classify import Resolved, classification_of
from core.registry.read import ImageInputs, resolve
from core.settings import Settings
from demo.service import Service, stop
from devtools.ports import free_port

# An API process and an inference process that can be altered while they run.


START_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Alterable:
    """A process that answers, and the socket over which it is told what to alter."""

    service: Service
    control: socket.socket
    log: Path

    def alter(self, names: str) -> None:
        """Alter what these names say, and nothing else. Raises RuntimeError if that fails."""
        self.control.sendall(names.encode() + b"\n")
        if not self.control.recv(1):
            raise RuntimeError(self.log.read_text(errors="replace"))

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of the process."""
        return _cpu_seconds(self.service.pid)

    @property
    def cpu_seconds_of_children(self) -> float:
        """The CPU time of its children; those of an API process decode."""
        children = psutil.Process(self.service.pid).children()
        return sum(_cpu_seconds(child.pid) for child in children)


@contextmanager
def api(home: Path, settings: Mapping[str, str]) -> Iterator[Alterable]:
    """Run an API process by itself."""
    port = free_port()
    more = {"PERENNIAL_PORT": str(port), "PERENNIAL_EMBEDDED": "false"}
    key = settings["PERENNIAL_ADMIN_KEY"]
    with _running("cli serve", home, port, key, {**settings, **more}) as running:
        yield running


@contextmanager
def inference(home: Path, settings: Mapping[str, str]) -> Iterator[Alterable]:
    """Run an inference process."""
    port = free_port()
    key = settings["PERENNIAL_INFERENCE_KEY"]
    more = {"PERENNIAL_INFERENCE_PORT": str(port)}
    with _running("worker.inference", home, port, key, {**settings, **more}) as running:
        yield running


@contextmanager
def _running(
    program: str, home: Path, port: int, key: str, settings: Mapping[str, str]
) -> Iterator[Alterable]:
    ours, theirs = socket.socketpair()
    ours.settimeout(START_S)
    log = home / f"{program}.log"
    with ours:
        with theirs, log.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.altered", *program.split()],
                env={**os.environ, **settings, "PERENNIAL_HOME": str(home)},
                stdin=theirs.fileno(),
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            service = Service(url=f"http://127.0.0.1:{port}", key=key, home=home, pid=process.pid)
            _wait_until_ready(service, process, log)
            yield Alterable(service=service, control=ours, log=log)
        finally:
            stop(process)


def _wait_until_ready(service: Service, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            httpx.get(f"{service.url}/healthz", trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")) from error
            time.sleep(0.2)
        else:
            return


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process to the nanosecond, by the clock that Linux has of each."""
    return time.clock_gettime(~pid << 3 | 2)


# The variants that are measured in turn.


class Variant(NamedTuple):
    """A variant: names of `altered` for the API process and for the inference process."""

    name: str
    api: str = ""
    inference: str = ""


SERVED = Variant("as served")

OF_IMAGES = (
    SERVED,
    Variant("inference called through httpx", api="httpx_client"),
    Variant("decoder not confined", api="unconfined"),
    Variant("decoded in the API process", api="in_process"),
    Variant("no authentication, no limits", api="unchecked"),
    Variant("alias looked up once", api="remembered"),
    Variant("no log, no metrics", api="silent"),
    Variant("the last three together", api="unchecked remembered silent"),
    Variant("key and version asked of the database", api="asking"),
    Variant("each request calls inference", api="unshared"),
)

OF_MOVES = (SERVED, Variant("each version read again", api="reading"))

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
    clients: int  # that classify at once
    seconds: float  # of a turn that classifies
    sending: ProcessPoolExecutor

    @classmethod
    def prepared(
        cls,
        home: Path,
        files: Sequence[bytes],
        *,
        threads: int,
        clients: int,
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
            clients=clients,
            seconds=seconds,
            sending=sending,
        )

    def classify(self, service: Service, reference: str, seconds: float) -> int:
        """Have clients classify; return how many images. Raises RuntimeError."""
        targets = classifying(service, reference, CLASSES, self.files)
        done = self.sending.submit(load, targets, self.clients, seconds).result()
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
    loop = partial(bare.run, bare.TORCH, BUNDLED, CLASSES, 1, site.files, 1)
    alone.submit(loop, 0.0).result()  # loads the model

    def turn() -> Cost:
        taken = alone.submit(loop, site.seconds).result()
        return Cost(taken.images, bare=taken.cpu)

    return turn


# CPU time of a request and of a move of an alias, by process, with one part altered at a time.
#
# Clients, by default one, classify one JPEG after the other with the bundled model, through an API
# process and an inference process, parts of which are altered between turns. Beside that stand
# calls of the inference process with pixels, and the bare open_clip call; both have one client.
# Turns of all alternate, and every
# second round takes them in the opposite order. `more` is the difference in CPU time of the
# altered processes alone, from the mean of those turns of the same round in which these are not
# altered: its median over rounds, with quartiles. CPU time can be compared on a busy machine too,
# if turns alternate.


IMAGES = 16

Costs = Sequence[Sequence[Cost]]  # by turn, and by round


def measure(turns: Sequence[Turn], rounds: int) -> Costs:
    """Take all turns once a round; the first round warms up."""
    costs: list[list[Cost]] = [[] for _ in turns]
    for number in range(rounds + 1):
        for place in range(len(turns))[:: -1 if number % 2 else 1]:
            cost = turns[place].take()
            if number:
                costs[place].append(cost)
    return costs


def rows_of(turns: Sequence[Turn], costs: Costs) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each thing measured."""
    for turn, taken in zip(turns, costs, strict=True):
        usual = [costs[place] for place, other in enumerate(turns) if is_usual(other, turn)]
        more = [
            milliseconds(one, turn.altered)
            - mean(milliseconds(other, turn.altered) for other in others)
            for one, *others in zip(taken, *usual, strict=True)
        ]
        lower, _, upper = quantiles(more, n=4, method="inclusive")
        yield {
            "CPU of": turn.of,
            "altered": turn.name,
            "requests": sum(cost.requests for cost in taken),
            **{
                f"{name} ms": median(milliseconds(cost, [name]) for cost in taken)
                for name in PROCESSES
            },
            "more ms": median(more),
            "from": lower,
            "to": upper,
        }


def is_usual(other: Turn, turn: Turn) -> bool:
    """Return whether another turn alters none of the processes that one alters."""
    return other.of == turn.of and not set(other.altered) & set(turn.altered)


def milliseconds(cost: Cost, processes: Collection[str]) -> float:
    """Return the milliseconds of a request in some processes."""
    seconds: float = sum(getattr(cost, name) for name in processes)
    return 1000 * seconds / cost.requests


def bench_costs(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the CPU time of requests and moves, and of what they consist of."""
    if given.rounds < 2:
        raise SystemExit("costs: --rounds must be at least 2, since differences have quartiles.")
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="perennial-costs-")))
        files = [path.read_bytes() for path in write_jpegs(home / "jpegs", IMAGES, given.side)]
        sending = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        site = Site.prepared(
            home,
            files,
            threads=given.threads,
            clients=given.clients[0],
            seconds=given.seconds,
            sending=stack.enter_context(sending),
        )
        turns = turns_of(stack, site)
        return list(rows_of(turns, measure(turns, given.rounds)))
