"""A service with the bundled model, an empty PostgreSQL with pgvector, and updates to move to.

Each update teaches two invented words, so that it has something to gain whatever has been taught
before. Which of two products has which word is chosen so that the live version is mostly wrong.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.serving.classify import UNLIMITED
from demo.images import PackImage, captioned, named
from demo.service import Service, running_service
from demo.walkthrough import PROMPT
from devtools.programs import with_pgvector
from devtools.servers import DURABLE, postgres_server
from perennial.client import Client

MODEL, INDEX, PICTURES = "shop", "shop", "pictures"
SUITE, SUITE_IMAGES = "captions", 400

# Any version may go live that has learned its words: the benchmark asks about the index.
ANYTHING: dict[str, Any] = {
    **dict.fromkeys(("parent_tolerance", "root_tolerance", "union_tolerance"), 1.0),
    **dict.fromkeys(("holdout_tolerance", "settled_tolerance", "swallow_tolerance"), 1.0),
    "default_list_tolerance": 1.0,
    "class_tolerance": None,
    "gain_error": 0.2,
    "alpha": 0.2,
    "minimum_count": 1,
    "views": 0,
}
LESSON_IMAGES, LEARNT_FROM = 30, 20  # of each word; of these, those that a live version is asked


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The service and the store, the indexed images, and what updates teach."""

    service: Service
    client: Client
    address: str  # of the database
    images: Sequence[PackImage]  # that were uploaded
    rows: int  # images that are indexed
    lessons: Sequence[tuple[Sequence[PackImage], Sequence[PackImage]]]
    epochs: int
    place: Path  # for downloads

    def command(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start `perennial` as its user would."""
        environment = {
            "PERENNIAL_URL": self.service.url,
            "PERENNIAL_KEY": self.service.key,
            "PERENNIAL_INDEX_TABLE": self.address,
        }
        with (self.place / "commands.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "perennial", *words],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )

    def run(self, *words: str) -> None:
        """Run `perennial` to its end. Raises RuntimeError if it fails."""
        if self.command(*words).wait():
            log = (self.place / "commands.log").read_text("utf-8")
            raise RuntimeError(f"perennial {' '.join(words)}: {log[-2000:]}")

    def live(self) -> int:
        """Return the version that the alias points at."""
        return self.client.aliases.get(MODEL)["version"]

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Connect to the database."""
        return psycopg.connect(self.address, autocommit=True)

    def forget_index(self, name: str) -> None:
        """Delete an index with its tables."""
        self.client.indexes.delete(MODEL, name)
        with self.connect() as connection:
            connection.execute(f'DROP VIEW IF EXISTS "{name}"'.encode())
            found = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ %s",
                (f"^{name}_(index|v[0-9]+)$",),
            ).fetchall()
            for (table,) in found:
                connection.execute(f'DROP TABLE "{table}"'.encode())

    def teach(self, number: int) -> tuple[int, bool]:
        """Train an update of the live version; return its number, and whether an index wants it."""
        words = [f"blicket {number}", f"dax {number}"]
        lesson = self.lessons[number % len(self.lessons)]
        asked = [(place, one) for place, part in enumerate(lesson) for one in part[:LEARNT_FROM]]
        answers = self.client.classify(MODEL, [one.file for _, one in asked], words)["data"]
        right = [
            answer["predictions"][0]["class"] == words[place]
            for (place, _), answer in zip(asked, answers, strict=True)
        ]
        if 2 * sum(right) > len(right):
            words.reverse()
        taught = f"lesson-{number}"
        self.client.datasets.create(taught)
        images = [
            (word, one.file) for word, part in zip(words, lesson, strict=True) for one in part
        ]
        self.client.datasets.upload(taught, images)
        self.client.datasets.freeze(taught)
        recipe = {"epochs": self.epochs, "batch_size": 2 * LESSON_IMAGES // 3, "seed": number}
        job = self.client.jobs.order_update(model=MODEL, dataset=taught, recipe=recipe)
        result = self.client.jobs.wait(job["id"])["result"]
        assert result is not None  # the job has succeeded
        return result["version"], result["promotion"]["reason"] == "index_not_ready"


@contextmanager
def a_scene(home: Path, *, rows: int, epochs: int, threads: int) -> Iterator[Scene]:
    """Run service and store within the context, with a dataset of so many images."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server(DURABLE, programs=with_pgvector()))
        settings = {**UNLIMITED, "PERENNIAL_THREADS": str(threads)}
        service = stack.enter_context(running_service(home / "service", **settings))
        client = stack.enter_context(service.client())
        images = _some_images(rows)
        yield Scene(
            service=service,
            client=client,
            address=server.url.format(name="postgres").replace("+psycopg", ""),
            images=images,
            rows=_fill_service(client, images),
            lessons=_lessons(),
            epochs=epochs,
            place=home,
        )


def _some_images(rows: int) -> Sequence[PackImage]:
    """Return images of the pack in a random order, always the same."""
    images = [*named("fashion_mnist"), *named("twemoji")[SUITE_IMAGES:]]
    random.Random(0).shuffle(images)
    if rows > len(images):
        raise SystemExit(f"The pack has {len(images)} images, so --rows is at most that.")
    return images[:rows]


def _lessons() -> Sequence[tuple[Sequence[PackImage], Sequence[PackImage]]]:
    """Return the pairs of products, each with images of both."""
    products: dict[str, list[PackImage]] = {}
    for one in named("fashion_mnist"):
        products.setdefault(one.text, []).append(one)
    pairs = list(combinations(sorted(products), 2))
    random.Random(0).shuffle(pairs)
    return [
        (products[one][:LESSON_IMAGES], products[other][:LESSON_IMAGES]) for one, other in pairs
    ]


def _fill_service(client: Client, images: Sequence[PackImage]) -> int:
    """Make the model, and the dataset that is indexed; return how many images that has."""
    client.datasets.create(SUITE, kind="captioned")
    pairs = ((one.text, one.file) for one in captioned("twemoji")[:SUITE_IMAGES])
    client.datasets.upload(SUITE, pairs)
    client.datasets.freeze(SUITE)
    client.suites.create(SUITE, kind="retrieval", dataset=SUITE, dataset_version=1, prompt=PROMPT)
    client.policies.create("anything", **ANYTHING, reason="the index is measured")
    job = client.models.create(MODEL, base="bundled", suites=[SUITE], policy="anything")
    client.jobs.wait(job["id"])
    client.datasets.create(PICTURES)
    client.datasets.upload(PICTURES, ((one.text, one.file) for one in images))
    return client.datasets.freeze(PICTURES)["images"]
