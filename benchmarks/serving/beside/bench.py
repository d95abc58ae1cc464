"""Our service, LitServe and Infinity embed the same images: an open loop at several rates.

The bundled model is served by the service and by LitServe, with the same weights and open_clip's
transforms; a ViT-B/32 with random weights by the service and by Infinity, which reads it in the
format of Hugging Face. One server runs at a time, with the same number of torch's threads. Before
anything is measured, its vectors of all images must have cosines of at least 0.9999 with those of
the service.

Requests of one image leave at fixed rates, whether or not earlier ones have been answered. Rates
are shares of what a bare open_clip loop classifies on the same cores in this run. Waits count from
when a request was due. The bare loop decodes on one core, so a server may pass it; a share of 1.5
saturates all of them: there, compare images a second.

LitServe and Infinity are installed in environments of their own below a folder, `var/serving`
unless told otherwise, at the first run.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ingest.jpegs import write_jpegs
from benchmarks.serving import bare
from benchmarks.serving.beside.endpoint import Endpoint, Vectors, least_cosine
from benchmarks.serving.beside.environments import INFINITY, LITSERVE, environment
from benchmarks.serving.beside.open_loop import Turn, send
from benchmarks.serving.beside.servers import Model, infinity, lit_serve, our_service
from benchmarks.serving.folders import BUNDLED, write_huggingface_of, write_random
from devtools.process_memory import cpu_seconds

IMAGES = 64
BATCH, BARE_S, WARM_S = 32, 3.0, 3.0
CLASSES = [f"class {number}" for number in range(10)]
LEAST_COSINE = 0.9999
LEAST_SENT = 100  # requests at each rate, so that one of a hundred can be told

Started = AbstractContextManager[Endpoint]
Row = dict[str, Any]


class VectorsDiffer(RuntimeError):
    """A server's vectors are not those of the service, so that its figures would tell nothing."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The images, processes and arguments that all servers are measured with."""

    given: argparse.Namespace
    files: Sequence[bytes]
    computing: ProcessPoolExecutor  # the bare loop
    sending: ProcessPoolExecutor  # the requests

    def model(self, name: str, home: Path) -> Model:
        """Return a model in each format that is read; one of random weights is written to home."""
        if name == "tiny":
            return Model(base="bundled", open_clip=BUNDLED, huggingface=BUNDLED)
        folder, converted = home / "open_clip", home / "huggingface"
        self.computing.submit(write_random, folder, "ViT-B-32").result()
        self.computing.submit(write_huggingface_of, folder, converted).result()
        return Model(base=str(folder), open_clip=folder, huggingface=converted)

    def bare_rate(self, model: Model) -> float:
        """Return how many images a second a bare loop classifies."""
        loop = partial(bare.run, model.open_clip, CLASSES, self.given.threads, self.files, BATCH)
        self.computing.submit(loop, 0.0).result()  # warms up
        return self.computing.submit(loop, BARE_S).result().rate

    def turn(self, endpoint: Endpoint, rate: float, seconds: float) -> tuple[Turn, float]:
        """Send images at a rate; return what came of it, and the CPU seconds of the server."""
        worked = cpu_seconds(endpoint.pid)
        turn = self.sending.submit(send, endpoint.targets(self.files), rate, seconds).result()
        return turn, cpu_seconds(endpoint.pid) - worked

    def rows(self, name: str, model: Model, servers: Mapping[str, Started]) -> Iterator[Row]:
        """Yield a row of the table for each server and rate. Raises VectorsDiffer."""
        bare_rate = self.bare_rate(model)
        reference: Vectors | None = None
        for title, started in servers.items():
            with started as endpoint:
                vectors = endpoint.vectors(self.files)
                reference = vectors if reference is None else reference
                cosine = least_cosine(reference, vectors)
                if cosine < LEAST_COSINE:
                    raise VectorsDiffer(f"{title}: a vector has a cosine of {cosine} with ours")
                self.turn(endpoint, self.given.shares[0] * bare_rate, WARM_S)
                for share in self.given.shares:
                    rate = share * bare_rate
                    seconds = max(self.given.turn, LEAST_SENT / rate)
                    turn, cpu = self.turn(endpoint, rate, seconds)
                    yield {
                        "model": name,
                        "server": title,
                        "of bare": share,
                        "sent/s": rate,
                        "sent": turn.sent,
                        "failed": " ".join(f"{n} x {why}" for why, n in turn.failed.items()) or 0,
                        "images/s": turn.rate,
                        "p50 ms": 1000 * turn.p50,
                        "p99 ms": 1000 * turn.p99,
                        "CPU ms": 1000 * cpu / max(1, len(turn.waits)),
                        "1 - cosine": 1 - cosine,
                    }


def servers_of(
    name: str, model: Model, home: Path, sample: bytes, given: argparse.Namespace
) -> Mapping[str, Started]:
    """Return the servers of a model, not yet started, the service first."""
    ours: dict[str, Started] = {"the service": our_service(model, home, given.threads)}
    if name == "tiny":
        programs = environment(given.environments / "litserve", LITSERVE)
        return ours | {"LitServe": lit_serve(programs, model, home, given.threads, sample)}
    programs = environment(given.environments / "infinity", INFINITY)
    return ours | {"Infinity": infinity(programs, model, home, given.threads, sample)}


def bench_beside(given: argparse.Namespace) -> list[Row]:
    """Measure the servers of each model."""
    rows: list[Row] = []
    spawning = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perennial-beside-")))
        files = [path.read_bytes() for path in write_jpegs(home / "jpegs", IMAGES, given.side)]
        bench = Bench(
            given=given,
            files=files,
            computing=stack.enter_context(ProcessPoolExecutor(1, mp_context=spawning)),
            sending=stack.enter_context(ProcessPoolExecutor(1, mp_context=spawning)),
        )
        for name in given.models:
            (home / name).mkdir()
            model = bench.model(name, home / name)
            rows += bench.rows(name, model, servers_of(name, model, home / name, files[0], given))
    return rows
