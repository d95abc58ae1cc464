"""Order an update."""

from collections.abc import Mapping

from core.domain.access.principal import Principal
from core.domain.access.roles import Role
from core.domain.jobs.job import Job
from core.domain.jobs.order import JobType, UpdateOrder
from core.domain.registry.version import Model
from core.errors import Forbidden
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.jobs.order_for_model import order_for_model
from core.use_cases.jobs.queue import JobRequest
from core.use_cases.training.preflight import preflight_order


def order_update(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    order: UpdateOrder,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> Job:
    """Request an update. Whatever would keep it from starting is raised as an error here.

    Raises Forbidden for one that would move its alias and whose principal may not, and what
    `preflight_order` raises.
    """

    def prepare(work: UnitOfWork, found: Model) -> UpdateOrder:
        require_promoter(request.principal, order)
        return preflight_order(work, platform.artifacts, found, order)

    return order_for_model(
        platform,
        notifier,
        request,
        JobType.UPDATE,
        prepare,
        model=model,
        priority=priority,
        metadata=metadata,
    )


def require_promoter(principal: Principal, order: UpdateOrder) -> None:
    """Raise Forbidden for an update that would move its alias if the principal may not move any."""
    if order.auto_promote and not principal.may(Role.OPERATOR):
        raise Forbidden(
            "An update that moves its alias when it passes takes at least the role "
            f"{Role.OPERATOR}: order it with auto_promote false, and let an operator promote its "
            "version.",
            required_role=Role.OPERATOR.value,
            role=principal.role and principal.role.value,
        )
