"""Let the test images grow by which the versions of models are judged."""

from datetime import datetime

from core.audit import record as audit
from core.audit.rules import Action, given_reason
from core.database.work import Work
from core.datasets.manifests import Manifest
from core.datasets.rules import DatasetKind, Suite, SuiteKind
from core.datasets.suites import add_images
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.version_rows import Suites
from core.errors import FieldInvalid, SuiteNotFound
from core.platform import Platform
from core.registry.inheritance import places
from core.registry.read import added_images, holdout_of
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import SuiteId, new_id


def grow_suite(
    platform: Platform, *, suite: str, dataset: str, dataset_version: int | None, reason: str
) -> Suite:
    """Add the images of a dataset version to a suite, which judges its models from now on.

    Verdicts of earlier editions let nothing pass any more, and what they failed has failed. Raises
    FieldInvalid without a reason, or what `add_images` raises.
    """
    now, reason = platform.clock(), given_reason(reason, "Adding images to a suite")
    with platform.transactions() as work:
        if work[Suites].get(suite).model is not None:  # `grow_holdout` adds to these
            raise SuiteNotFound(suite=suite)
        growth = add_images(
            platform, work, suite=suite, dataset=dataset, dataset_version=dataset_version, now=now
        )
        before, after = growth.before, growth.after
        models = work[Models].replace_suite(before.id, after.id)
        audit.record(
            work,
            Action.SUITE_GROWN,
            f"suites/{after.name}",
            now=now,
            before={"edition": before.edition, "images": before.images},
            after=growth.facts | {"models": list(models)},
            reason=reason,
        )
        work.commit()
    return after


def grow_holdout(
    platform: Platform,
    *,
    model: str,
    version: int,
    dataset: str,
    dataset_version: int | None,
    reason: str,
) -> Suite:
    """Add the images of a dataset version to the holdout of the update that made a version.

    They judge all versions that know the update, but not what the update itself has gained. Raises
    ModelNotFound, VersionNotFound, FieldInvalid without a reason or for a version that was taught
    no class, and what `add_images` raises.
    """
    now, reason = platform.clock(), given_reason(reason, "Adding images to a holdout")
    with platform.transactions() as work:
        work.principal.require_every_model()
        work[Thumbnails].lock()  # as who deletes the model does, and who adds to the same holdout
        found = work[Models].get(model)
        learner = work[Versions].get(found.id, version)
        if not learner.update_classes:
            raise FieldInvalid(
                f"Version {version} was taught no class: nothing can join a holdout of it.",
                pointer="/version",
            )
        before = added_images(work, found.id).get(version)
        if before is None:
            before = _nothing_added(platform, work, found, learner, now)
        held_out = {entry.pixels for entry in holdout_of(work, platform.artifacts, learner)}
        growth = add_images(
            platform,
            work,
            suite=before.id,
            dataset=dataset,
            dataset_version=dataset_version,
            now=now,
            known=held_out,
        )
        audit.record(
            work,
            Action.HOLDOUT_GROWN,
            f"models/{found.name}/versions/{version}",
            now=now,
            before={"edition": growth.before.edition, "images": growth.before.images},
            after=growth.facts,
            reason=reason,
        )
        work.commit()
    return growth.after


def _nothing_added(
    platform: Platform, work: Work, model: Model, learner: Version, now: datetime
) -> Suite:
    """Store the first edition of what is added to a holdout, which is empty."""
    place = places(work[Versions].descents(model.id))[learner.number]
    nothing = Manifest(kind=DatasetKind.LABELLED, entries=())
    stored = platform.artifacts.put(nothing.to_bytes())
    made = Suite(
        id=SuiteId(new_id("suite", now)),
        name=f"holdout of {model.name}:{place}",
        kind=SuiteKind.ZERO_SHOT,
        manifest=stored,
        source=stored,
        classes=learner.update_classes,
        images=0,
        prompt=learner.prompt,
        mirror=False,
        created_at=now,
        model=model.id,
        version=place,
    )
    work[Suites].add(made, nothing)
    return made
