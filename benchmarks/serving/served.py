"""The service that is measured, with the models that it serves."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.api.load import Target, load
from benchmarks.serving.taken import Taken
from demo.service import Service, running_service
from devtools.process_memory import cpu_seconds

UNLIMITED = {"PERENNIAL_RATE_REQUESTS": str(10**9)}  # all clients have one key


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model that the service serves, and requests to classify one image each."""

    service: Service
    targets: Sequence[Target]

    def run(self, clients: int, seconds: float) -> Taken:
        """Have clients classify one image after the other; call this in another process.

        Raises RuntimeError if a request failed.
        """
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
    return Served(service=service, targets=classifying(service, name, classes, files))


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
