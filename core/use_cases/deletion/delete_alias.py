"""Delete an alias."""

from core.domain.access.principal import Principal
from core.domain.registry.alias import delete, require_revision
from core.domain.registry.deletion import require_alias_unused
from core.ports import Platform
from core.use_cases.jobs.unfinished import unfinished_jobs


def delete_alias(
    platform: Platform,
    principal: Principal,
    *,
    model: str,
    alias: str,
    expected_revision: int,
    reason: str = "",
) -> None:
    """Delete an alias; its history stays, and an alias of that name goes on from it.

    Raises Forbidden, ModelNotFound, AliasNotFound, StaleRevision, or InUse while an unfinished job
    names the alias.
    """
    principal.require_admin()
    now = platform.clock()
    with platform.transactions() as work:
        found = work.models.get(model)
        present = work.aliases.lock(found.id, alias)
        require_revision(present, expected_revision)
        require_alias_unused(present, unfinished=unfinished_jobs(work, found.id))
        work.aliases.remove(delete(present, reason=reason, actor=principal.name, now=now))
        work.commit()
