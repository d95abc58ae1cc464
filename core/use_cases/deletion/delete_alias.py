"""Delete an alias."""

from core.domain.access.audit import Action
from core.domain.registry.alias import delete, require_revision
from core.domain.registry.deletion import require_alias_unused
from core.domain.trials.trial import TrialEnd
from core.domain.webhooks.event import alias_moved
from core.ports import Platform
from core.use_cases.access import audit
from core.use_cases.jobs.unfinished import unfinished_jobs
from core.use_cases.trials.end_trial import end_trial


def delete_alias(
    platform: Platform,
    *,
    model: str,
    alias: str,
    expected_revision: int,
    reason: str = "",
) -> None:
    """Delete an alias; its history stays, and an alias of that name goes on from it.

    Raises ModelNotFound, AliasNotFound, StaleRevision, or InUse while an unfinished job names the
    alias.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work.models.get(model)
        present = work.aliases.lock(found.id, alias)
        require_revision(present, expected_revision)
        require_alias_unused(present, unfinished=unfinished_jobs(work, found.id))
        row = delete(present, reason=reason, actor=work.principal.name, now=now)
        end_trial(
            work,
            found,
            alias,
            TrialEnd.ALIAS_DELETED,
            actor=work.principal.name,
            now=now,
            reason=reason,
        )
        work.aliases.remove(row)
        work.outbox.add(alias_moved(row))
        audit.record(
            work,
            Action.ALIAS_DELETED,
            f"models/{found.name}/aliases/{alias}",
            now=now,
            before={"version": present.version},
            reason=reason,
        )
        work.commit()
