"""End the trial of an alias."""

from datetime import datetime

from core.domain.access.audit import Action
from core.domain.registry.version import Model
from core.domain.trials.trial import Trial, TrialEnd
from core.errors import TrialEnded
from core.ports import Platform, UnitOfWork
from core.use_cases.access import audit


def end_trial(
    work: UnitOfWork,
    model: Model,
    alias: str,
    end: TrialEnd,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
) -> Trial | None:
    """End the trial that an alias has, if it has one, as part of what ends it; return it."""
    ended = work.trials.end(model.id, alias, end, by=actor, now=now)
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


def stop_trial(
    platform: Platform, *, model: str, alias: str, trial: str, reason: str = ""
) -> Trial:
    """End a trial without moving its alias. Raises TrialNotFound, or TrialEnded."""
    now = platform.clock()
    with platform.transactions() as work:
        found = work.models.get(model)
        wanted = work.trials.find(found.id, alias, trial)
        wanted.require_running()
        ended = end_trial(
            work,
            found,
            alias,
            TrialEnd.STOPPED,
            actor=work.principal.name,
            now=now,
            reason=reason,
        )
        if ended is None or ended.id != wanted.id:  # it has ended since, and another may have begun
            work.trials.get(wanted.id).require_running()
            raise TrialEnded(trial=wanted.id)
        work.commit()
    return ended


def subject_of(model: Model, trial: Trial) -> str:
    """Return the path of a trial, as audit events name it."""
    return f"models/{model.name}/aliases/{trial.alias}/trials/{trial.id}"
