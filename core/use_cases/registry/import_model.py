"""Make a model's root from a base."""

from core.domain.jobs.job import Job, model_of
from core.domain.jobs.order import ImportOrder
from core.domain.recipes.prompt import PromptTemplate
from core.domain.registry.alias import PRODUCTION, MoveKind
from core.domain.registry.version import Version, VersionStatus
from core.ports import Importer, Monitor, Platform
from core.use_cases.registry.aliases.move_alias import move_alias
from core.use_cases.registry.import_outcome import require_no_root


def import_model(
    platform: Platform, importer: Importer, job: Job, order: ImportOrder, monitor: Monitor
) -> None:
    """Load the base, store it as version 1 and point `production` at it, in one transaction.

    Raises Conflict when another import has made the root: an import may be retried twice.
    """
    model = model_of(job)
    with platform.transactions(read_only=True) as work:
        require_no_root(work, model)
    weights, prompt = importer.load(order.base, monitor)
    now = platform.clock()
    with platform.transactions() as work:
        root = Version(
            model=model,
            number=work.versions.next_number(model),
            status=VersionStatus.PROMOTED,
            digest=weights.digest,
            size=weights.size,
            job=job.id,
            prompt=PromptTemplate(prompt),
            created_at=now,
        )
        work.versions.add(root)
        move_alias(
            work,
            None,
            name=PRODUCTION,
            to=root,
            kind=MoveKind.CREATED,
            reason=f"imported from {order.base}",
            actor=f"job {job.id}",
            now=now,
        )
        result = {"version": root.number, "report": None, "verdict": None}
        work.jobs.finish(job.succeed(result, now), job.fence)
        work.commit()
