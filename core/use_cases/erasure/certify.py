"""The certificate of an erasure."""

from typing import Any

from core.domain.erasure.remains import EXACTNESS, REMAINS
from core.domain.registry.version import Version
from core.domain.values import ErasureId
from core.errors import ErasurePending
from core.ports import Platform, UnitOfWork
from core.use_cases.erasure.progress import MarkedState, Progress, progress_of
from core.use_cases.registry.lineage import ancestors


def certify(platform: Platform, erasure: ErasureId) -> dict[str, Any]:
    """Return what an erasure has taken back, what replaces what, and what it cannot reach.

    Whether the store holds bytes of the images is looked up now. Raises ErasureNotFound, or
    ErasurePending until the erasure has ended.
    """
    with platform.transactions(read_only=True) as work:
        (progress,) = progress_of(work, [work.erasures.get(erasure)])
        if not progress.status.ended:
            raise ErasurePending(
                f"The erasure is {progress.status.value}.",
                erasure=erasure,
                status=progress.status.value,
            )
        versions = [_version(work, one) for one in progress.versions]
    found = progress.erasure.findings
    return {
        **_order(progress),
        "images": [
            {
                "pixels": pixels,
                "stored_as": list(forms),
                "in_store": any(platform.artifacts.has(form) for form in forms),
            }
            for pixels, forms in sorted(found.artifacts.items())
        ],
        "drafts": list(found.drafts),
        "dataset_versions": [
            {
                "dataset": one.name,
                "version": one.number,
                "removed": one.removed,
                "replaced_by": one.replaced_by,
            }
            for one in found.datasets
        ],
        "suites": list(found.suites),
        "near_duplicates": list(found.near_duplicates),
        "trials": list(found.trials),
        "versions": versions,
        "aliases": [
            {"model": model, "alias": alias.name, "version": alias.version}
            for model, alias in progress.aliases
        ],
        "remains": [{"where": where, "what": what} for where, what in REMAINS.items()],
        "exactness": EXACTNESS,
    }


def _order(progress: Progress) -> dict[str, Any]:
    erasure = progress.erasure
    return {
        "erasure": erasure.id,
        "status": progress.status,
        "reason": erasure.reason,
        "ordered_by": erasure.actor,
        "ordered_at": erasure.created_at,
        "erased_at": erasure.erased_at,
    }


def _version(work: UnitOfWork, one: MarkedState) -> dict[str, Any]:
    by = one.by
    return {
        "model": one.marked.name,
        "version": one.marked.number,
        "learned": one.marked.learned,
        "digest": one.marked.digest,
        "exports": [
            export.format.value for export in work.exports.all(one.marked.model, one.marked.number)
        ],
        "environment": dict(one.version.environment) if one.version else None,
        "replaced_by": by and by.number,
        "digest_after": by and by.digest,
        "environment_after": dict(by.environment) if by else None,
        "exact": _is_exact(work, by) if by else None,
        "obstacle": one.marked.obstacle,
    }


def _is_exact(work: UnitOfWork, version: Version) -> bool:
    """Return whether a version and all that it was trained from stayed on one kind of machine."""
    line = [*ancestors(work, version), version]
    made = [one for one in line if not one.is_root]
    return all(one.exact and one.environment == version.environment for one in made)
