"""Keep an index true: fill it for a version, move the alias, and have the store follow.

Each step can be interrupted: the next call begins with what is there. docs/adr/0051 has the order.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from safetensors.numpy import load_file

from perennial import types
from perennial.client import Client
from perennial.errors import ServiceError
from perennial.indexes.sources import AT_ONCE, Notify, Source, batches
from perennial.indexes.store import IndexFailure, Item, Live, Pace, Store

Method = Literal["embedded", "bridged", "held"]

TOLD_S = 2.0  # between two reports of progress
TRIES = 3  # of making a side what its source is, which may change meanwhile
RETIRED = 2  # sides that are kept to roll back to
COMPLETE = {"complete", "live", "retired"}


class Keeper:
    """Fills the store of one index, and has it follow the index's alias."""

    def __init__(
        self,
        client: Client,
        store: Store,
        source: Source,
        *,
        model: str,
        index: str,
        pace: Pace | None = None,
        notify: Notify = lambda _: None,
        progress: Callable[[int, int], object] = lambda _rows, _total: None,
    ) -> None:
        self._client = client
        self._store = store
        self._source = source
        self._model = model
        self._index = index
        self._pace = pace or Pace(None)
        self._notify = notify
        self._progress = progress

    def shown(self) -> types.Index:
        """Return what the service knows of the index."""
        return self._client.indexes.get(self._model, self._index)

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        self._store.claim(self.shown()["id"])
        try:
            yield
        finally:
            self._store.release()

    # Fill, move, follow: each of them again after an interruption.

    def fill(self, version: int, method: Method | None = None) -> types.Index:
        """Make complete vectors for a version; searches and alias stay where they are."""
        with self._claimed():
            self._fill(version, method)
        return self.shown()

    def move(
        self,
        version: int,
        *,
        method: Method | None = None,
        reason: str | None = None,
        override: bool | None = None,
    ) -> types.Index:
        """Make complete vectors for a version, point the alias at it, and have it searched."""
        with self._claimed():
            self._fill(version, method)
            found = self.shown()
            if found["live"] != version:
                self._client.aliases.promote(
                    self._model, version, alias=found["alias"], reason=reason, override=override
                )
            self._follow()
        return self.shown()

    def sync(self, *, retired: int = RETIRED) -> types.Index:
        """Do all that is left to do.

        Versions that passed the gate and wait go live, the store goes where the alias is, images
        that came or went are added or removed, and sides that nobody can roll back to are deleted
        but for so many.
        """
        with self._claimed():
            self._go_live()
            self._follow()
            self._refresh()
            self._prune(retired)
        return self.shown()

    def delete(self) -> None:
        """Have the service forget the index, so that its alias moves freely."""
        self._client.indexes.delete(self._model, self._index)

    def _go_live(self) -> None:
        """Move the alias to the newest version that waits, unless it has moved meanwhile.

        Without a reason, which only a person may give: the gate may want one by now.
        """
        waiting = [one for one in self.shown()["versions"] if one["wanted"] is not None]
        if not waiting:
            return
        version = waiting[-1]["version"]
        self._fill(version, None)
        found = self.shown()
        row = _row(found, version)
        if row is None or row["wanted"] is None:
            return
        try:
            self._client.aliases.promote(
                self._model, version, alias=found["alias"], expected_revision=row["wanted"]
            )
        except ServiceError as error:
            if error.status not in {409, 412}:
                raise
            self._notify(f"{self._model}:{version} does not go live: {error.detail}")

    def _follow(self) -> None:
        """Have the version searched that the alias points at."""
        found = self.shown()
        version = found["live"]
        if version is None:
            raise IndexFailure(f"{self._model} has no alias {found['alias']!r} any more.")
        self._fill(version, None)
        row = _row(self.shown(), version)
        if row is None:
            return
        side = _side(row)
        live = Live(version=version, digest=row["digest"], side=side)
        if self._store.live() != live:
            self._store.switch(live)
            self._notify(f"{self._index} is searched by version {version}")

    # Fill the side of a version.

    def _fill(self, version: int, method: Method | None) -> None:
        found = self.shown()
        row = _row(found, version)
        if row is not None and row["state"] in COMPLETE:
            if _side(row) in self._store.sides():
                return
            self._notify(f"the store has lost its vectors for version {version}: again")
        chosen, baseline = self._chosen(found, version, method)
        digest = self._client.versions.get(self._model, version)["digest"]

        def tell(rows: int, total: int, *, complete: bool = False) -> None:
            self._client.indexes.record(
                self._model,
                self._index,
                version,
                digest=digest,
                method=chosen,
                baseline=baseline,
                rows=rows,
                total=total,
                complete=complete,
            )

        if row is None or row["method"] is None:
            self._store.drop(version)  # what is left of vectors that the service has forgotten
        tell(0, 0)  # the intent, before anything is in the store
        side = version
        if chosen == "held" and baseline is not None:
            side = baseline
            if side not in self._store.sides():
                raise IndexFailure(f"The store has no vectors of version {baseline} to hold.")
        else:
            self._make(version, baseline, tell)
        count = len(self._store.sources(side))
        tell(count, count, complete=True)
        self._notify(f"version {version}: {count:,} vectors are complete ({chosen})")

    def _chosen(
        self, found: types.Index, version: int, method: Method | None
    ) -> tuple[Method, int | None]:
        """Return how vectors are made: as they have begun, unless another way is asked for."""
        row = _row(found, version)
        begun = None if row is None or row["method"] is None else (row["method"], row["baseline"])
        if row is not None and begun and (method is None or row["state"] in COMPLETE):
            return begun
        wanted = self._method(found, version, method)
        if begun and begun != wanted:
            self._client.indexes.clear(self._model, self._index, version)
            self._store.drop(version)
        return wanted

    def _method(
        self, found: types.Index, version: int, method: Method | None
    ) -> tuple[Method, int | None]:
        """Return how to make vectors for a version, and from which other version's.

        By default as a compatibility report with a version that the index has allows.
        """
        if method == "embedded":
            return "embedded", None
        own = [
            one["version"]
            for one in found["versions"]
            if one["state"] in COMPLETE and one["method"] == "embedded"
        ]
        reports = [
            one
            for one in self._client.vectors.reports(self._model, version)
            if one["from"] in own and one["from"] != version
        ]
        for report in sorted(reports, key=lambda one: one["from"] != found["live"]):
            judged = [one for one in report["searches"] if one["judged"]]
            raw = [one["raw_loss"]["upper"] for one in judged]
            bridged = [one["bridged_loss"]["upper"] for one in judged]
            ways: tuple[tuple[Method, list[float]], ...] = (("held", raw), ("bridged", bridged))
            for way, losses in ways:
                allowed = bool(losses) and max(losses) <= found["allowed_loss"]
                if (method is None and allowed) or method == way:
                    return way, report["from"]
        if method is not None:
            raise IndexFailure(
                f"No report compares version {version} with one whose vectors the index has: run "
                f"`perennial compatibility {self._model}:{version} --wait`."
            )
        return "embedded", None

    def _make(self, version: int, baseline: int | None, tell: Callable[[int, int], object]) -> None:
        """Make a side what its source is, and fast to search."""
        if baseline is not None:
            self._bridge(version, baseline, tell)
        for _ in range(TRIES):
            name = self._source.name()
            if self._update(version, version, tell):
                self._store.finish(version)
                self._store.mark(version, name)
                return
        raise IndexFailure("The images changed while they were indexed: try again.")

    def _update(
        self, side: int, version: int, tell: Callable[[int, int], object] | None = None
    ) -> bool:
        """Add what a side lacks and remove what it has no more; return whether it is true then."""
        wanted = self._source.wanted()
        present: Mapping[str, str] = {}
        if side in self._store.sides():
            present = self._store.sources(side)
            self._remove(side, present.keys() - wanted.keys())
        missing = [one for one, source in wanted.items() if present.get(one) != source]
        done, told = len(wanted) - len(missing), time.monotonic()
        for items in self._source.items(version, missing):
            self._write(side, items)
            done += len(items)
            self._progress(done, len(wanted))
            if tell is not None and time.monotonic() - told > TOLD_S:
                told = time.monotonic()
                tell(done, len(wanted))
        if side not in self._store.sides():
            raise IndexFailure("There are no images to index.")
        return self._store.sources(side) == self._source.wanted()

    def _write(self, side: int, items: Sequence[Item]) -> None:
        self._store.create(side, len(items[0].vector))
        for part in self._pace.parts(items):
            self._store.write(side, part)

    def _remove(self, side: int, gone: Collection[str]) -> None:
        for batch in batches(iter(sorted(gone)), AT_ONCE):
            self._store.write(side, [], batch)

    def _bridge(self, version: int, baseline: int, tell: Callable[[int, int], object]) -> None:
        """Write another version's vectors, mapped, that are not there yet."""
        mapped = self._map(version, baseline)
        present: Mapping[str, str] = {}
        if version in self._store.sides():
            present = self._store.sources(version)
        wanted = self._source.wanted()
        total, done, last = len(wanted), len(present), ""
        while items := self._store.read(baseline, last, AT_ONCE):
            last = items[-1].id
            left = [
                one
                for one in items
                if wanted.get(one.id) == one.source and present.get(one.id) != one.source
            ]
            if left:
                self._write(version, mapped(left))
                done += len(left)
                self._progress(done, total)
        tell(done, total)

    def _map(self, version: int, baseline: int) -> Callable[[Sequence[Item]], Sequence[Item]]:
        """Return what applies the bridge between two versions; see docs/old-vectors.md."""
        with TemporaryDirectory(prefix="perennial-index-") as folder:
            place = Path(folder) / "bridge.safetensors"
            bridge = load_file(
                self._client.vectors.download_bridge(self._model, version, baseline, to=place)
            )
        weight, bias = bridge["weight"], bridge["bias"]

        def mapped(items: Sequence[Item]) -> Sequence[Item]:
            rows = np.stack([item.vector for item in items]) @ weight + bias
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            return [
                Item(id=one.id, source=one.source, texts=one.texts, vector=row)
                for one, row in zip(items, rows.astype(np.float32), strict=True)
            ]

        return mapped

    # Images that came and went, and sides that are not needed.

    def _refresh(self) -> None:
        """Bring the live side to its source, and remove from the others what it has no more."""
        live, name = self._store.live(), self._source.name()
        for side, filled_from in self._store.sides().items():
            if name and filled_from == name:
                continue
            if live is not None and side == live.side:
                if self._update(side, side):
                    self._store.mark(side, name)
                continue
            gone = self._store.sources(side).keys() - self._source.wanted().keys()
            self._remove(side, gone)

    def _prune(self, retired: int) -> None:
        """Delete the sides that no alias can go to, and forget what waits no longer."""
        found = self.shown()
        moves = reversed(list(self._client.aliases.history(self._model, found["alias"])))
        recent = list(dict.fromkeys(one["to_version"] for one in moves))
        old = [one for one in found["versions"] if one["state"] == "retired"]
        old.sort(key=lambda one: recent.index(one["version"]))
        left = [
            one for one in found["versions"] if one["state"] == "wanted" and one["wanted"] is None
        ]
        for one in (*old[retired:], *left):
            try:
                self._client.indexes.clear(self._model, self._index, one["version"])
            except ServiceError as error:
                if error.code != "in_use":  # the vectors of another version are made of its own
                    raise
        known = {_side(one) for one in self.shown()["versions"] if one["method"] is not None}
        live = self._store.live()
        for side in self._store.sides():
            if side not in known and (live is None or side != live.side):
                self._store.drop(side)
                self._notify(f"the vectors of version {side} are deleted")


def _row(index: types.Index, version: int) -> types.IndexVersion | None:
    return next((one for one in index["versions"] if one["version"] == version), None)


def _side(row: types.IndexVersion) -> int:
    """Return the version whose vectors are searched for a version."""
    return row["baseline"] if row["method"] == "held" and row["baseline"] else row["version"]
