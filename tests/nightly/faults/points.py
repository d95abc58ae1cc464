"""Named points in the processes under test: who reaches an armed one is struck there.

The product has no hooks. Its processes run unchanged, with `tests/nightly/faults/inject` first on
their path: there `install` wraps the database's transactions and the artifact folder's `put`. A
point is armed by a file of its name that says what to do; the first process to get there takes the
file away and does it to itself.

Points of transactions: `claim`, `checkpoint`, `publish`, `evaluate`, `verdict`, `promote`,
`import`, `erase`, `export` and `version` of a worker, `order` and `label` of the API, each
`.before` (written, not committed) and `.after` the commit.
Points of `put`: `put-<kind>.before` and `.after`, by who calls it; `put-image` is that of an
uploaded image, which is written before its form has ended.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from tests.support.places import ROOT

INJECT = ROOT / "tests" / "nightly" / "faults" / "inject"

# Rows and their method that writes, and whose commit it is.
WRITES = {
    ("core.jobs.rows:Jobs", "claim"): "claim",
    ("core.jobs.rows:Jobs", "set_checkpoint"): "checkpoint",
    ("core.jobs.rows:Jobs", "set_version"): "publish",
    ("core.evaluation.rows:AnswerCache", "add"): "evaluate",
    ("core.registry.version_rows:Versions", "save"): "verdict",
    ("core.registry.alias_rows:Aliases", "move"): "promote",
    ("core.jobs.rows:Jobs", "add"): "order",
    ("core.datasets.rows:Datasets", "add_images"): "import",
    ("core.erasure.rows:Erasures", "save"): "erase",
    ("core.exports.rows:Exports", "put"): "export",
    ("core.trials.rows:Predictions", "save"): "label",
    ("core.registry.version_rows:Versions", "add"): "version",
}

# Module and function that put an artifact, and what it is.
PUTS = {
    ("core.learning.step", "Checkpoints"): "checkpoint",
    ("core.clip.model", "_store"): "tensor",
    ("core.clip.model", "publish"): "weights",
    ("core.evaluation.evaluate", "_store_answers"): "answers",
    ("core.evaluation.evaluate", "evaluate_version"): "report",
    ("core.datasets.freeze", "freeze_version"): "manifest",
    ("core.datasets.uploads", "receive_image"): "imported",
    ("core.imports.import_images", "_finish"): "file-report",
    ("core.bundles.import_version", "import_version"): "bundled",
}


class Points:
    """The points of one service, told to its processes through a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process heed the points."""
        return {"FAULT_POINTS": str(self._folder), "PYTHONPATH": f"{INJECT}{os.pathsep}{ROOT}"}

    def arm(self, point: str, *, signal: int = 0, whole: bool = False, fill: str = "") -> None:
        """Have the next process that gets there struck; no other point stays armed.

        A signal goes to it, and to its parent first if the whole worker is to be struck; `fill` is
        a file that grows until the disk that holds it is full.
        """
        for old in self._folder.glob("*.*"):
            old.unlink(missing_ok=True)
        ready = self._folder / "new"
        ready.write_text(json.dumps({"signal": signal, "whole": whole, "fill": fill}))
        ready.rename(self._folder / point)

    def struck_at(self, point: str) -> float | None:
        """When a process was struck there, in seconds since 1970; None if none was yet."""
        try:
            return (self._folder / f"{point}.struck").stat().st_ctime
        except FileNotFoundError:
            return None

    def began_at(self, point: str) -> float:
        """Return when a process that was struck there had come: a disk takes a while to fill."""
        return (self._folder / f"{point}.struck").stat().st_mtime

    def is_ready(self, pid: int) -> bool:
        """Return whether this worker child receives messages."""
        return (self._folder / f"ready-{pid}").exists()

    def tell_ready(self, **_: object) -> None:
        (self._folder / f"ready-{os.getpid()}").touch()

    def reach(self, point: str) -> None:
        """Be struck, if this point is armed and nobody was before."""
        taken = self._folder / f"{point}.taken"
        try:
            (self._folder / point).rename(taken)
        except FileNotFoundError:
            return
        os.utime(taken)  # when it began
        blow = json.loads(taken.read_text())
        if blow["fill"]:
            fill(Path(blow["fill"]))  # to its end, before anybody makes room again
        taken.rename(self._folder / f"{point}.struck")
        if blow["signal"] and blow["whole"]:
            os.kill(os.getppid(), blow["signal"])
        if blow["signal"]:
            os.kill(os.getpid(), blow["signal"])
            time.sleep(0.05)  # a signal may come a moment later, and nothing may be done before


def fill(ballast: Path) -> None:
    """Let a file take all that is left of its disk."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1 << 8, 1):
            block = bytes(size)
            try:
                while file.write(block) == size:
                    pass
            except OSError:
                continue


def note_writes(work: Any, note: Callable[[str], None]) -> None:
    """Have each write of a transaction noted, a claim if there was a job to claim."""

    def noting(point: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any, **named: Any) -> Any:
            result = write(*arguments, **named)
            if result is not None or point != "claim":
                note(point)
            return result

        return written

    for (rows, method), point in WRITES.items():
        where = work[resolve_name(rows)]
        setattr(where, method, noting(point, getattr(where, method)))


def install(folder: Path) -> None:
    """Make this process heed the points."""
    from core.artifacts.local import FileBatch, LocalArtifacts
    from core.database.work import Work

    points = Points(folder)
    if sys.orig_argv[2] == "worker":
        from celery.signals import worker_ready

        worker_ready.connect(points.tell_ready, weak=False)
    enter, commit, put = Work.__enter__, Work.commit, LocalArtifacts.put
    add = FileBatch.add

    def watched_enter(work: Any) -> Any:
        enter(work)
        work.passed = []

        def note(point: str) -> None:
            work.passed.append(point)
            points.reach(f"{point}.before")

        note_writes(work, note)
        return work

    def watched_commit(work: Any) -> None:
        commit(work)
        for point in work.passed:
            points.reach(f"{point}.after")

    def watched_put(artifacts: Any, data: bytes, *moved: Any) -> Any:
        caller = sys._getframe(1)
        function = caller.f_code.co_qualname.split(".")[0]
        kind = PUTS.get((caller.f_globals["__name__"], function), "other")
        points.reach(f"put-{kind}.before")
        digest = put(artifacts, data, *moved)
        points.reach(f"put-{kind}.after")
        return digest

    def watched_add(batch: Any, data: bytes) -> Any:
        points.reach("put-image.before")
        digest = add(batch, data)
        points.reach("put-image.after")
        return digest

    Work.__enter__ = watched_enter  # type: ignore[method-assign]
    Work.commit = watched_commit  # type: ignore[method-assign]
    LocalArtifacts.put = watched_put  # type: ignore[method-assign, assignment]
    FileBatch.add = watched_add  # type: ignore[method-assign]


KILL, STOP = int(signal.SIGKILL), int(signal.SIGSTOP)
