"""Start a trial: a candidate beside the version that an alias points at."""

from core.domain.access.audit import Action
from core.domain.registry.alias import require_revision
from core.domain.registry.version import Version
from core.domain.trials.trial import Trial, TrialMode, require_share, require_trial
from core.domain.values import TrialId, new_id
from core.errors import FieldInvalid
from core.ports import Artifacts, Platform
from core.use_cases.access import audit
from core.use_cases.registry.image_inputs import ImageInputs
from core.use_cases.registry.reports import scores_of
from core.use_cases.registry.stored_weights import require_weights
from core.use_cases.trials.end_trial import subject_of


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

    Raises ModelNotFound, AliasNotFound, VersionNotFound, StaleRevision, TrialRunning, FieldInvalid,
    and what `require_trial` raises.
    """
    require_share(mode, share)
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        present = work.aliases.get(found.id, alias)
        require_revision(present, expected_revision)
        current = work.versions.get(found.id, present.version)
        tried = work.versions.get(found.id, candidate)
    scores = scores_of(platform.artifacts, tried)
    require_trial(mode, current=current, candidate=tried, scores=scores)
    require_weights(platform.artifacts, tried)
    _require_same_input(platform.artifacts, current, tried)
    now = platform.clock()
    with platform.transactions() as work:
        tried = work.versions.get(found.id, candidate, lock=True)  # it is not collected meanwhile
        present = work.aliases.get(found.id, alias)
        require_revision(present, expected_revision)  # so it still points at `current`
        require_trial(mode, current=current, candidate=tried, scores=scores)
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
        work.trials.start(trial, present)
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
