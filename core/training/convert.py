"""Order a version in another precision, and make it.

It has its parent's tensors, and its digest is another one, as that covers the config. So whatever
goes by the digest of a version (answers, verdicts, caches, what is served) keeps the two apart.
"""

from core.artifacts.store import Artifacts
from core.bases.create_model import require_import
from core.database.work import Work
from core.engines.compiler import Compiler
from core.errors import FieldInvalid
from core.jobs.needs import require_scorable
from core.jobs.orders import ConvertOrder, JobType
from core.jobs.queue import JobRequest, order_for_model
from core.jobs.rules import Job, JobNotifier, Monitor
from core.platform import Platform
from core.registry.read import ancestors
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, Weights, in_precision
from core.training.order import present_parent
from core.training.update_model import add_candidate, pin_line
from core.values import Digest


def order_conversion(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    order: ConvertOrder,
) -> Job:
    """Request a conversion. Whatever would keep it from starting is raised as an error here.

    Raises Forbidden for one that would move its alias and whose principal may not, and what
    `preflight_conversion` raises.
    """

    def prepare(work: Work, found: Model) -> ConvertOrder:
        preflight_conversion(work, found, order)
        return order

    return order_for_model(platform, notifier, request, JobType.CONVERT, prepare, model=model)


def preflight_conversion(work: Work, model: Model, order: ConvertOrder) -> None:
    """Raise what would keep a conversion from starting, if a worker claimed it now.

    That is ImportFailed, VersionNotFound, AliasNotFound, LearnedErasedImages, ParentNotRetrained,
    ArtifactGone, or FieldInvalid for the precision that the version has.
    """
    require_import(work, model)
    parent = present_parent(work, model.id, order)
    if parent is not None:
        parent.require_clean()
        require_scorable((*ancestors(work, parent), parent))
        _require_another(parent, order)


def _require_another(parent: Version, order: ConvertOrder) -> None:
    if parent.precision is order.precision:
        raise FieldInvalid(
            f"Version {parent.number} is computed in {parent.precision} already.",
            pointer="/precision",
        )


def convert_version(
    platform: Platform, compiler: Compiler, job: Job, order: ConvertOrder, monitor: Monitor
) -> int:
    """Compile a version's tensors in another precision and commit the candidate; its number.

    A resumed job that has committed its candidate already goes on from there. Raises what
    `preflight_conversion`, the compiler and the monitor raise.
    """
    if job.version is not None:
        return job.version
    with platform.transactions() as work:
        parent = pin_line(work, job, order)[-1]
        _require_another(parent, order)
        work.commit()
    monitor.advance("loading", 0, 1)
    digest = _store(platform.artifacts, parent, order)
    compiler.compile(digest, monitor)
    with platform.transactions() as work:
        number = work[Versions].next_number(parent.model)
        parent = work[Versions].get(parent.model, parent.number, lock=True)
        parent.require_clean()
        candidate = Version(
            model=parent.model,
            number=number,
            digest=digest,
            size=parent.size,
            precision=order.precision,
            parent=parent.number,
            job=job.id,
            classes=parent.classes,
            prompt=parent.prompt,
            feature_statistics=parent.feature_statistics,
            replaces=order.replaces,
            created_at=platform.clock(),
        )
        add_candidate(work, job, candidate)
        work.commit()
    return candidate.number


def _store(artifacts: Artifacts, parent: Version, order: ConvertOrder) -> Digest:
    """Store the list of a version's tensors with the config of another precision."""
    weights = Weights.from_bytes(artifacts.get(parent.digest))
    return artifacts.put(in_precision(weights, order.precision).to_bytes())
