"""Start and end trials."""

from datetime import datetime
from functools import partial

from core.artifacts.store import Artifacts
from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.errors import FieldInvalid, ModelNotFound, TrialEnded, TrialNotFound
from core.gate.rules import Verdict
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias, AliasMove, require_revision
from core.registry.promotable import require_canary
from core.registry.read import ImageInputs, locate, require_weights, scores_of
from core.registry.requirements import promotion_requirements
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.trials.rows import Trials
from core.trials.rules import Trial, TrialEnd, TrialMode, Tried, require_share, require_trial
from core.values import TrialId, new_id


def start_trial(
    platform: Platform,
    *,
    model: str,
    alias: str,
    candidate: int,
    mode: TrialMode,
    share: float | None,
    expected_revision: int,
    reason: str,
) -> Trial:
    """Start a trial of an alias; every byte of the candidate is read first.

    A shadow's answers are seen by nobody, so any version with weights may be one. A canary answers
    callers, so it takes what a promotion takes. Raises ModelNotFound, AliasNotFound,
    VersionNotFound, StaleRevision, TrialRunning, and what `require_trial` and, of a canary,
    `require_canary` raise.
    """
    require_share(mode, share)
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        present = work[Aliases].get(found.id, alias)
        require_revision(present, expected_revision)
        current = work[Versions].get(found.id, present.version)
        tried = work[Versions].get(found.id, candidate)
    require_trial(current=current, candidate=tried)
    require_weights(platform.artifacts, tried)
    _require_same_input(platform.artifacts, current, tried)
    now = platform.clock()
    with platform.transactions() as work:
        if mode is TrialMode.CANARY:  # a verdict on a version that has its tensors would end it
            work[Models].hold(found.id)
        tried = work[Versions].get(found.id, candidate, lock=True)  # it is not collected meanwhile
        present = work[Aliases].get(found.id, alias)
        require_revision(present, expected_revision)  # so it still points at `current`
        require_trial(current=current, candidate=tried)
        if mode is TrialMode.CANARY:
            require_canary(
                tried,
                promotion_requirements(work, tried, alias),
                work[Verdicts].counting(tried),
                reason=reason,
                scores=partial(scores_of, platform.artifacts),
            )
        trial = Trial(
            id=TrialId(new_id("trial", now)),
            model=found.id,
            alias=alias,
            mode=mode,
            share=share,
            current=current.number,
            candidate=tried.number,
            reason=reason,
            started_by=work.principal.name,
            started_at=now,
        )
        work[Trials].start(trial, present)
        audit.record(
            work,
            Action.TRIAL_STARTED,
            subject_of(found, trial),
            now=now,
            after={
                "mode": mode.value,
                "share": share,
                "current": current.number,
                "candidate": tried.number,
            },
            reason=reason,
        )
        work.commit()
    return trial


def _require_same_input(artifacts: Artifacts, current: Version, candidate: Version) -> None:
    """Raise FieldInvalid unless both versions take the same pixels of an image."""
    inputs = ImageInputs(artifacts)
    if inputs.of(current.digest) != inputs.of(candidate.digest):
        raise FieldInvalid(
            f"Version {candidate.number} takes images of another size than version "
            f"{current.number}, so both cannot be asked about the same pixels.",
            pointer="/version",
        )


def stop_trial(
    platform: Platform, *, model: str, alias: str, trial: str, reason: str = ""
) -> Trial:
    """End a trial without moving its alias. Raises TrialNotFound, or TrialEnded."""
    now = platform.clock()
    with platform.transactions() as work:
        found = work[Models].get(model)
        wanted = work[Trials].find(found.id, alias, trial)
        wanted.require_running()
        ended = end_running_trial(
            work,
            found,
            alias,
            TrialEnd.STOPPED,
            actor=work.principal.name,
            now=now,
            reason=reason,
        )
        if ended is None or ended.id != wanted.id:  # it has ended since, and another may have begun
            work[Trials].get(wanted.id).require_running()
            raise TrialEnded(trial=wanted.id)
        work.commit()
    return ended


def end_running_trial(
    work: Work,
    model: Model,
    alias: str,
    end: TrialEnd,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
) -> Trial | None:
    """End the trial that an alias has, if it has one, as part of what ends it; return it."""
    ended = work[Trials].end(model.id, alias, end, by=actor, now=now)
    if ended is not None:
        audit.record(
            work,
            Action.TRIAL_ENDED,
            subject_of(model, ended),
            now=now,
            after={"end": end.value},
            reason=reason,
            actor=actor,
        )
    return ended


def end_on_move(work: Work, to: Version, row: AliasMove) -> None:
    """End the trial that the alias has: of this version, which takes over, or of another."""
    trial = next((one for one in work[Trials].running(to.model) if one.alias == row.alias), None)
    if trial is not None:
        end = TrialEnd.PROMOTED if trial.candidate == to.number else TrialEnd.ALIAS_MOVED
        model = work[Models].get(to.model)
        end_running_trial(
            work, model, row.alias, end, actor=row.actor, now=row.at, reason=row.reason
        )


def end_failed_canaries(work: Work, version: Version, *, actor: str, now: datetime) -> None:
    """End the canaries that the gate has failed beside what is live, as a version was judged.

    They may be of the version, of another with its weights, or of what was converted from it.
    """
    for trial in work[Trials].running(version.model):
        if trial.mode is not TrialMode.CANARY:
            continue
        tried = work[Versions].get(version.model, trial.candidate)
        required = promotion_requirements(work, tried, trial.alias)
        if required.outcome(work[Verdicts].counting(tried)) is Verdict.FAILED:
            model = work[Models].get(version.model)
            end_running_trial(work, model, trial.alias, TrialEnd.FAILED, actor=actor, now=now)


def subject_of(model: Model, trial: Trial) -> str:
    """Return the path of a trial, as audit events name it."""
    return f"models/{model.name}/aliases/{trial.alias}/trials/{trial.id}"


def resolve_tried(work: Work, reference: str) -> tuple[Model, Version, Tried | None]:
    """Return what `resolve` does and, if the reference names an alias, the trial that it has."""
    model, version, alias = locate(work, reference)
    return model, version, None if alias is None else _tried(work, alias)


def _tried(work: Work, alias: Alias) -> Tried | None:
    if alias.trial is None:
        return None
    try:
        trial = work[Trials].get(alias.trial)
    except TrialNotFound:  # its model was deleted since the alias was read
        raise ModelNotFound(model=alias.model) from None
    return Tried(trial=trial, candidate=work[Versions].get(alias.model, trial.candidate))
