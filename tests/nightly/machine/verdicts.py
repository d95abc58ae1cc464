"""The machine's book of the gate: the rules of verdicts, worked out once more from their rows."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.database.work import Work
from core.datasets.version_rows import Suites
from core.gate.rules import Verdict
from core.jobs.rules import Job
from core.registry.alias_rows import Aliases
from core.registry.aliases import AliasMove, MoveKind, live_stack, since_created
from core.registry.verdict_rows import Verdicts
from core.registry.verdicts import ORDER, VersionVerdict
from core.registry.version_rows import Versions
from core.registry.versions import Descent, Model, Version
from core.trials.rows import Trials
from core.trials.rules import Trial, TrialMode
from core.values import Json, ModelId, TrialId
from tests.nightly.machine.world import ALIASES, World

Key = tuple[ModelId, int, int, str, tuple[str, ...], tuple[str, ...], tuple[int, ...]]


class Gate:
    """The verdicts so far, and the moves that were looked at."""

    def __init__(self, world: World, happened: Counter[str]) -> None:
        self.world = world
        self.happened = happened
        self._running: dict[TrialId, Trial] = {}
        self._rows: dict[Key, VersionVerdict] = {}
        self._seen: dict[tuple[ModelId, str], int] = {}  # moves

    def check(self) -> None:
        """Look at what has come since: verdicts, moves of aliases, and canaries that run."""
        for model in self.world.models():
            with self.world.reading() as work:
                versions = {one.number: one for one in work[Versions].all(model.id)}
                rows = [
                    row
                    for found in work[Verdicts].on_each(model.id, versions).values()
                    for row in found
                ]
                histories = {name: work[Aliases].history(model.id, name) for name in ALIASES}
                trials = work[Trials].running(model.id)
                live = {alias.name: alias.version for alias in work[Aliases].all(model.id)}
                passed = {row.to_version for rows in histories.values() for row in rows if let(row)}
                line = Line(versions, work[Versions].descents(model.id), passed, added(work, model))
            failed = self._note(model, rows)
            self._canaries(model, trials)
            for trial in trials:
                asked = {live[trial.alias], versions[trial.candidate].parent}
                covered = [row for row in failed if row.version == trial.candidate]
                assert trial.mode is TrialMode.SHADOW or not any(
                    row.beside in asked and covers(row, model) for row in covered
                ), "a canary has gone on whose version failed"
            for name, history in histories.items():
                for at in range(self._seen.get((model.id, name), 0), len(history)):
                    assert is_allowed(model, line, rows, history[: at + 1]), history[at]
                self._seen[model.id, name] = len(history)

    def decided(
        self, model: Model, version: Version, history: Sequence[AliasMove] | None
    ) -> tuple[Verdict | None, bool]:
        """Return the worst verdict that counts, and whether one is about what would be replaced.

        That is what an alias with this history points at; None stands for the parent.
        """
        with self.world.reading() as work:
            versions = {one.number: one for one in work[Versions].all(model.id)}
            histories = [work[Aliases].history(model.id, name) for name in ALIASES]
            passed = {row.to_version for rows in histories for row in rows if let(row)}
            line = Line(versions, work[Versions].descents(model.id), passed, added(work, model))
            on_each = work[Verdicts].on_each(model.id, versions)
        rows = [row for found in on_each.values() for row in found]
        return decided(model, line, version, rows, history)

    def stood(self, job: Job) -> bool:
        """Return whether an evaluation has left the verdicts that there were, of more images."""
        return all(row.job != job.id for row in self._rows.values())

    def _canaries(self, model: Model, trials: Sequence[Trial]) -> None:
        """Tell how canaries have ended since the last time."""
        running = {trial.id: trial for trial in trials if trial.mode is TrialMode.CANARY}
        for trial in [one for one in self._running.values() if one.model == model.id]:
            if trial.id not in running:
                with self.world.reading() as work:
                    end = work[Trials].get(trial.id).end
                self.happened[f"canary ended: {end}"] += 1
                del self._running[trial.id]
        self._running |= running

    def _note(self, model: Model, rows: Sequence[VersionVerdict]) -> list[VersionVerdict]:
        """Check what has changed since the last time; return what has failed since."""
        failed = []
        for row in rows:
            about = (row.suites, row.holdouts, row.updates, row.settled)
            key = (row.model, row.version, row.beside, row.policy, *about)
            before = self._rows.get(key)
            if before == row:
                continue
            report = self._report(row)
            assert (report["policy"]["id"], sorted(report["suites"])) == (row.policy, [*row.suites])
            assert row.beside in {report["parent"], report["live"]}
            assert row.beside != report["live"] or row.verdict == report["verdict"]
            if before is not None:
                assert row.images >= before.images, "a verdict on more images was replaced"
                better = ORDER.index(row.verdict) < ORDER.index(before.verdict)
                assert row.images > before.images or not better, "the same images judged better"
                assert measured(report, row) >= measured(self._report(before), before)
            if row.verdict is Verdict.FAILED:
                failed.append(row)
            self._rows[key] = row
        return failed

    def _report(self, row: VersionVerdict) -> Json:
        found: Json = json.loads(self.world.artifacts.get(row.report))
        return found


def measured(report: Json, row: VersionVerdict) -> set[tuple[str, str]]:
    """The measures of a report that a verdict is about."""
    whole = row.beside == report["live"] or report["live"] is None
    return {
        (one["kind"], one["name"])
        for one in report["measures"]
        if whole or "parent" in one["baseline"]
    }


def covers(
    row: VersionVerdict,
    model: Model,
    more: Collection[str] = (),
    settled: Collection[int] = (),
) -> bool:
    """True if a verdict is about all images and settled versions; one that failed, about any."""
    about = {*model.suites} <= {*row.suites} and {*more} <= {*row.holdouts}
    about &= {*settled} <= {*row.settled, row.beside}
    return row.policy == model.policy and (about or row.verdict is Verdict.FAILED)


def added(work: Work, model: Model) -> Mapping[int, str]:
    """The suites of what was added to holdouts, by the version in whose place one stands."""
    return {number: suite.id for number, suite in work[Suites].held_out(model.id).items()}


@dataclass(frozen=True)
class Line:
    """All versions of a model, and what they descend from, also those that are deleted."""

    versions: Mapping[int, Version]
    descents: Mapping[int, Descent]
    passed: set[int | None]  # by passing they went live
    added: Mapping[int, str]

    def before(
        self, version: Version, rows: Sequence[VersionVerdict], live: int | None
    ) -> set[Verdict]:
        """Return the verdicts of ancestors that count where nothing is live.

        Where something is, those of what a conversion was made from, unless that is live.
        """
        found: set[Verdict] = set()
        child, parent = version.number, self.descents[version.number].parent
        while parent is not None and (further := self.descents[parent].parent) is not None:
            if live is not None and not self.versions[child].is_conversion:
                break
            if live in {child, parent}:
                break
            about = [r for r in rows if r.version == parent and r.beside in {further, live}]
            own = {row.verdict for row in about}
            if parent in self.passed and Verdict.FAILED not in own:
                break
            if live is not None and all(row.beside != live for row in about):
                own.add(Verdict.INCONCLUSIVE)
            found.add(next((one for one in WORST if one in own), Verdict.INCONCLUSIVE))
            child, parent = parent, further
        return found

    def settled(self, version: Version) -> set[int]:
        """Return the ancestors, but the parent, that went live by passing."""
        return {one for one in self._line(version.parent) if one in self.passed} - {version.parent}

    def more(self, version: int, lost: Collection[int]) -> set[str]:
        """Return what was added to the holdouts that a verdict has to be about."""
        asked = (self._line(version) - {version}) | {*lost}
        return {self.added[self._first(n)] for n in asked if self._first(n) in self.added}

    def lost(self, version: int, history: Sequence[AliasMove]) -> set[int]:
        """Return the versions whose updates the live one answers for, and `version` lacks."""
        live, own = history[-1].to_version, self._line(version)
        answering: set[int] = set()
        more = {*live_stack(history)}
        while more:
            answering |= more
            more = {number for one in more for number in self._line(one)}
            more |= {n for one in answering if (n := self.descents[one].replaces) is not None}
            more |= {
                row.from_version
                for row in since_created(history)
                if row.to_version in answering and row.from_version is not None
                if row.kind is MoveKind.PROMOTED and not row.override
            }
            more -= answering
        lost = {
            number
            for number in answering - own
            if number in self._line(live) or not self._repeated(number, own)
        }
        return lost & self.versions.keys()

    def _line(self, number: int | None) -> set[int]:
        if number is None:
            return set()
        return {number} | self._line(self.descents[number].parent)

    def _first(self, number: int) -> int:
        """Return the version in whose place one stands."""
        replaced = self.descents[number].replaces
        return number if replaced is None else self._first(replaced)

    def _repeated(self, number: int, own: set[int]) -> bool:
        return self._first(number) in map(self._first, own)


def let(row: AliasMove) -> bool:
    """Return whether a passing verdict let a version go live by a move."""
    return row.verdict is Verdict.PASSED and not row.override


WORST = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)


def decided(
    model: Model,
    line: Line,
    version: Version,
    rows: Sequence[VersionVerdict],
    history: Sequence[AliasMove] | None,
) -> tuple[Verdict | None, bool]:
    """Return what decides on a version, in the place of what an alias with a history points at.

    None stands for its parent, whatever is live.
    """
    live = history[-1].to_version if history else None
    replaces = live not in {None, version.number}
    beside = live if replaces else version.parent
    lost = line.lost(version.number, history) if replaces else set()
    now = [
        row
        for row in rows
        if row.version == version.number
        and row.beside in {beside, version.parent}
        and covers(
            row, model, line.more(version.number, lost & {*row.updates}), line.settled(version)
        )
    ]
    found = {row.verdict for row in now}
    if history is not None and found:
        found |= line.before(version, rows, live)
    worst = next((one for one in WORST if one in found), None)
    return worst, any(row.beside == beside and lost <= {*row.updates} for row in now)


def is_allowed(
    model: Model,
    line: Line,
    rows: Sequence[VersionVerdict],
    history: Sequence[AliasMove],
) -> bool:
    """Return whether the last of some moves is one that the rules allow, as things are now."""
    *before, row = history
    to = line.versions.get(row.to_version or 0)
    if row.override or to is None:  # deleted since
        return bool(row.reason)
    if to.erasure is not None:
        return False
    if row.kind is MoveKind.ROLLED_BACK:
        rightly = any(
            one.to_version == to.number and one.from_version != to.number and not one.override
            for one in before
        )
        worst, about = decided(model, line, to, rows, None)
        return rightly and not (about and worst is Verdict.FAILED)
    if to.is_root:
        return row.from_version in {None, to.number}
    worst, about = decided(model, line, to, rows, before)
    reason = bool(row.reason) and not row.actor.startswith("job ")
    return about and (worst is Verdict.PASSED or (worst is Verdict.INCONCLUSIVE and reason))
