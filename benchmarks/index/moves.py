"""Updates and rollbacks under a searcher that asks all the time, and kills of what moves the index.

After each of them `perennial index sync` runs, or for an update that the gate did not pass
`perennial index move` with an override. It is killed (SIGKILL) at random moments: in turn, one
since it has the index for itself, and one since a worker has made the vectors. It writes half of
the rows a second at most, so that some kills come while it writes. After each kill
and each move, what can be searched is read in one statement, and compared with the vectors of its
version. The first move of each kind is left alone: it says how long one takes.
"""

import random
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from statistics import fmean, median, quantiles
from typing import Any

import httpx
import numpy as np
from pgvector.psycopg import register_vector

from benchmarks.index.recall import DEPTH, QUERIES, Truth, fresh_recall, truth_of
from benchmarks.index.scene import INDEX, MODEL, PICTURES, Scene
from perennial.errors import ServiceError
from perennial.indexes.pgvector import PgVectorStore
from perennial.indexes.search import search
from perennial.indexes.store import IndexFailure

CLOSE = 1e-6  # of values of a vector
POLL_S = 0.005
UPDATE, ROLLBACK = "update", "rollback"
SYNC = ("sync", INDEX, "--model", MODEL)

# A searcher that asks one query after the other.


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer to a query."""

    query: int
    version: int
    ids: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The answers that a searcher got, and its errors."""

    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextmanager
def searching(scene: Scene) -> Iterator[Asked]:
    """Search without a pause within the context."""
    asked, done = Asked(), threading.Event()

    def ask() -> None:
        store = PgVectorStore(scene.address, INDEX)
        with scene.service.client() as client:
            query = 0
            while not done.is_set():
                began = time.perf_counter()
                try:
                    found = search(client, store, MODEL, text=QUERIES[query], limit=DEPTH)
                except (IndexFailure, ServiceError, httpx.HTTPError) as error:
                    asked.failed.append(repr(error))
                    continue
                asked.answers.append(
                    Answer(
                        query=query,
                        version=found.live.version,
                        ids=tuple(hit.id for hit in found.hits),
                        seconds=time.perf_counter() - began,
                    )
                )
                query = (query + 1) % len(QUERIES)
        store.close()

    thread = threading.Thread(target=ask, name="searcher")
    thread.start()
    try:
        yield asked
    finally:
        done.set()
        thread.join()


# What is searched, and what a kill has left.


@dataclass(kw_only=True)
class Looks:
    """The vectors that could be searched, after each kill and each move."""

    scene: Scene
    truths: dict[int, Truth] = field(default_factory=dict)
    looks: int = 0
    missing: int = 0
    twice: int = 0
    wrong: int = 0  # of another version or image, or of several versions

    def truth(self, version: int) -> Truth:
        """Return the vectors of a version."""
        if version not in self.truths:
            self.truths[version] = truth_of(self.scene, version)
        return self.truths[version]

    def look(self) -> None:
        """Compare what can be searched now with the vectors of its version."""
        with self.scene.connect() as connection:
            register_vector(connection)
            found = connection.execute(
                f'SELECT id, vector, version, digest FROM "{INDEX}"'.encode()
            ).fetchall()
        rows = {str(row[0]): row for row in found}
        ((version, digest), *mixed) = Counter((row[2], row[3]) for row in found)
        truth = self.truth(int(str(version)))
        self.looks += 1
        self.missing += len(truth.vectors.keys() - rows.keys())
        self.twice += len(found) - len(rows)
        self.wrong += len(mixed) + (digest != truth.digest)
        for name, (_, vector, *_) in rows.items():
            known: Any = truth.vectors.get(name)
            given: Any = vector
            near = known is not None and np.allclose(given.to_numpy(), known, rtol=0, atol=CLOSE)
            self.wrong += not near


def step_of(scene: Scene, version: int) -> str:
    """Return the last step of a move to a version that is done, as ADR 51 counts them."""
    found = scene.client.indexes.get(MODEL, INDEX)
    row = next((one for one in found["versions"] if one["version"] == version), None)
    if row is None or row["method"] is None:
        return "0 nothing yet"
    if row["state"] == "filling":
        with scene.connect() as connection:
            table = f"{INDEX}_v{version}"
            there = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
            if there is None or there[0] is None:
                return "1 filling recorded"
            count = connection.execute(f'SELECT count(*) FROM "{table}"'.encode()).fetchone()
        return "3 all rows" if count == (row["total"] or scene.rows,) else "2 a part of them"
    if found["live"] != version:
        return "4 complete recorded"
    store = PgVectorStore(scene.address, INDEX)
    try:
        live = store.live()
    finally:
        store.close()
    return "6 all" if live and live.version == version else "5 alias moved"


# Moves, and kills of them.


@dataclass(kw_only=True)
class Mover:
    """Has the index follow its alias, by processes of which some are killed."""

    scene: Scene
    looks: Looks
    kills: int  # that are left
    moves: int  # that are left
    chance: random.Random
    words: tuple[str, ...] = ()  # of the command that moves the index
    spans: dict[str, list[float]] = field(default_factory=dict)  # of a whole move, by kind
    fell: Counter[str] = field(default_factory=Counter)
    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def follow(self, kind: str, version: int, *words: str) -> None:
        """Have the index follow by a command; kill that at random moments before it is done."""
        self.words = ("index", *words, "--rate", str(self.scene.rows / 2))
        self.moves -= 1
        planned = ceil(self.kills / max(1, self.moves)) if kind in self.spans else 0
        killed = 0
        while killed < planned and self._killed(kind, version):
            killed += 1
        began = time.perf_counter()
        marks = self._finished(version)
        if not killed:
            self.taken[kind].append(time.perf_counter() - began)
            self.spans[kind] = [time.perf_counter() - mark for mark in marks]
        self.looks.look()

    def _finished(self, version: int) -> list[float]:
        """Run to the end; return when it had the index for itself, and when vectors were there."""
        process = self.scene.command(*self.words)
        marks = [self._await(process, version, which) for which in range(2)]
        if process.wait():
            raise RuntimeError((self.scene.place / "commands.log").read_text("utf-8")[-2000:])
        return marks

    def _killed(self, kind: str, version: int) -> bool:
        """Begin a move and kill it; return whether it was killed before it had ended."""
        while self._is_claimed():  # by what was killed before, for a moment
            time.sleep(POLL_S)
        since = self.kills % 2 if kind == UPDATE else 0  # a rollback makes no vectors
        process = self.scene.command(*self.words)
        self._await(process, version, since)
        try:
            process.wait(self.chance.uniform(0, self.spans[kind][since]))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.kills -= 1
            self.fell[step_of(self.scene, version)] += 1
            self.looks.look()
            return True
        return False

    def _await(self, process: "subprocess.Popen[bytes]", version: int, which: int) -> float:
        while process.poll() is None:
            if self._is_claimed() if which == 0 else self._has_vectors(version):
                break
            time.sleep(POLL_S)
        return time.perf_counter()

    def _is_claimed(self) -> bool:
        with self.scene.connect() as connection:
            held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"
            return connection.execute(held).fetchone() is not None

    def _has_vectors(self, version: int) -> bool:
        try:
            self.scene.client.vectors.get(MODEL, version, PICTURES, 1)
        except ServiceError:
            return False
        return True


def bench_moves(scene: Scene, updates: int, rollbacks: int, kills: int) -> Mapping[str, Any]:
    """Move the index by updates and rollbacks; return what was searched meanwhile."""
    looks = Looks(scene=scene)
    mover = Mover(
        scene=scene,
        looks=looks,
        kills=kills,
        moves=updates + rollbacks,
        chance=random.Random(0),
    )
    back = {round((n + 1) * updates / rollbacks) for n in range(rollbacks)} if rollbacks else set()
    fresh = {1: fresh_recall(scene, looks.truth(1), "fresh1")}
    before, unwanted = _embedding_jobs(scene), 0
    with searching(scene) as asked:
        for number in range(1, updates + 1):
            version, wanted = scene.teach(number)
            unwanted += not wanted
            move = ("move", INDEX, f"{MODEL}:{version}", "--override", "--reason", "measured")
            mover.follow(UPDATE, version, *(SYNC if wanted else move))
            fresh[version] = fresh_recall(scene, looks.truth(version), f"fresh{version}")
            print(
                f"update {number} of {updates}: version {version}, {mover.kills} kills left",
                flush=True,
            )
            if number in back:
                scene.client.aliases.roll_back(MODEL, reason="measured")
                mover.follow(ROLLBACK, scene.live(), *SYNC)
    jobs = _embedding_jobs(scene) - before
    for one in asked.failed[:10]:
        print(one)
    return {
        "rows": scene.rows,
        "updates": updates,
        "by an override": unwanted,
        "rollbacks": len(back),
        "kills": sum(mover.fell.values()),
        "killed after step": dict(sorted(mover.fell.items())),
        "looks": looks.looks,
        "missing": looks.missing,
        "twice": looks.twice,
        "wrong": looks.wrong,
        **_searched(asked, looks, fresh),
        "jobs that embed": jobs,
        **{f"s of a {kind}'s move": median(taken) for kind, taken in mover.taken.items()},
    }


def _embedding_jobs(scene: Scene) -> int:
    return sum(1 for _ in scene.client.jobs.list(model=MODEL, type="reembed"))


def _searched(asked: Asked, looks: Looks, fresh: Mapping[int, float]) -> Mapping[str, Any]:
    """Return what a searcher was told, beside fresh indexes."""
    recalls: dict[int, list[float]] = defaultdict(list)
    for one in asked.answers:
        recalls[one.version].append(looks.truth(one.version).recall(one.query, one.ids))
    by_version = {version: fmean(found) for version, found in recalls.items()}
    waits = [one.seconds for one in asked.answers]
    short = sum(len(set(one.ids)) != DEPTH for one in asked.answers)
    return {
        "queries": len(asked.answers) + len(asked.failed),
        "without an answer": len(asked.failed) + short,
        "versions that answered": len(recalls),
        "recall@10": fmean(value for found in recalls.values() for value in found),
        "least of a version": min(by_version.values()),
        "recall@10 of fresh indexes": fmean(fresh.values()),
        "least of a fresh one": min(fresh.values()),
        "least share of the fresh one's": min(
            value / fresh[version] for version, value in by_version.items()
        ),
        "p50 ms": 1000 * median(waits),
        "p99 ms": 1000 * quantiles(waits, n=100)[98],
        "longest ms": 1000 * max(waits),
    }
