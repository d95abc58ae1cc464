"""Create suites and gate policies, and choose those of a model."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from core.domain.access.audit import Action
from core.domain.datasets.suite import Suite, SuiteKind
from core.domain.gate.policy import GatePolicy
from core.domain.recipes.prompt import DEFAULT_PROMPT, PromptTemplate
from core.domain.registry.version import Model
from core.domain.values import PolicyId, SuiteId, clean_name, counted, new_id
from core.errors import FieldInvalid, ImageInTraining, NameTaken, PolicyNotFound
from core.ports import Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.datasets.manifests import read_manifest

DEFAULT_POLICY = "default"


def create_suite(
    platform: Platform,
    *,
    name: str,
    kind: SuiteKind,
    dataset: str,
    dataset_version: int,
    prompt: PromptTemplate = DEFAULT_PROMPT,
) -> Suite:
    """Make a suite of all images of a dataset version.

    Raises FieldInvalid when the dataset is of the other kind, ImageInTraining when one of
    the images is on the training side of a dataset version, NameTaken.
    """
    now = platform.clock()
    with platform.transactions(read_only=True) as work:
        source = work.datasets.get(dataset)
        if source.kind is not kind.dataset_kind:
            raise FieldInvalid(
                f"A {kind.value} suite requires a {kind.dataset_kind.value} dataset.",
                pointer="/dataset",
            )
        version = work.datasets.version(source.id, dataset_version)
    manifest = read_manifest(platform.artifacts, version.manifest)
    groups = {entry.group for entry in manifest.entries}
    with platform.transactions() as work:
        work.datasets.version(source.id, version.number, keep=True)  # it may be gone by now
        # An image that is already in a suite cannot have been trained on since then: a version
        # whose training side has it is the one that the suite was made from.
        trained = work.datasets.trained_groups(groups, except_for=source.id)
        trained -= work.suites.contains(trained)
        if trained:
            shared = sorted(entry.pixels for entry in manifest.entries if entry.group in trained)
            raise ImageInTraining(
                f"The training sides of dataset versions contain {counted(len(shared), 'image')} "
                "of this dataset, counting near-duplicates.",
                pixels=shared[:20],
            )
        suite = Suite(
            id=SuiteId(new_id("suite", now)),
            name=clean_name(name),
            kind=kind,
            manifest=version.manifest,
            classes=manifest.classes,
            images=len(manifest.entries),
            prompt=prompt,
            created_at=now,
        )
        work.suites.add(suite, manifest)
        audit.record(
            work,
            Action.SUITE_CREATED,
            f"suites/{suite.name}",
            now=now,
            after={"kind": kind.value, "dataset": source.name, "dataset_version": dataset_version},
        )
        work.commit()
    return suite


def create_policy(platform: Platform, policy: GatePolicy) -> GatePolicy:
    """Store a gate policy. Raises NameInvalid or NameTaken."""
    clean_name(policy.name)
    with platform.transactions() as work:
        _add_policy(work, policy)
        work.commit()
    return policy


def add_suite(platform: Platform, model: str, suite: Suite) -> None:
    """Add a suite to those that score a model. Raises ModelNotFound."""
    with platform.transactions() as work:
        found = work.models.get(model)
        if suite.id not in found.suites:
            work.models.set_suites(found.id, [*found.suites, suite.id])
            _record_configured(work, found, platform.clock())
            work.commit()


def ensure_default_policy(platform: Platform) -> None:
    """Make sure that there is a policy named 'default'."""
    policy = GatePolicy(
        id=PolicyId("gate_default"), name=DEFAULT_POLICY, created_at=platform.clock()
    )
    with platform.transactions() as work, suppress(NameTaken):  # by another process, just now
        try:
            work.policies.get(DEFAULT_POLICY)
        except PolicyNotFound:
            _add_policy(work, policy)
            work.commit()


def configure_model(
    platform: Platform,
    model: str,
    *,
    suites: Sequence[str] | None,
    policy: str | GatePolicy | None,
    reason: str = "",
) -> Model:
    """Choose the suites and the policy that judge a model's next versions; None keeps them.

    A policy that is given as a value is stored with it. Raises ModelNotFound, SuiteNotFound or
    PolicyNotFound; NameInvalid or NameTaken for a new policy.
    """
    with platform.transactions() as work:
        found = work.models.get(model)
        if suites is not None:
            chosen = dict.fromkeys(work.suites.get(name).id for name in suites)
            work.models.set_suites(found.id, [*chosen])
        if isinstance(policy, GatePolicy):
            clean_name(policy.name)
            _add_policy(work, policy)
            work.models.set_policy(found.id, policy.id)
        elif policy is not None:
            work.models.set_policy(found.id, work.policies.get(policy).id)
        changed = work.models.get(found.id)
        if changed != found:
            _record_configured(work, found, platform.clock(), reason)
        work.commit()
    return changed


def _add_policy(work: UnitOfWork, policy: GatePolicy) -> None:
    work.policies.add(policy)
    audit.record(
        work,
        Action.POLICY_CREATED,
        f"gate-policies/{policy.name}",
        now=policy.created_at,
        after={name: value for name, value in vars(policy).items() if name != "created_at"},
        reason=policy.reason,
    )


def _record_configured(work: UnitOfWork, before: Model, now: datetime, reason: str = "") -> None:
    audit.record(
        work,
        Action.MODEL_CONFIGURED,
        f"models/{before.name}",
        now=now,
        before=_judges(work, before),
        after=_judges(work, work.models.get(before.id)),
        reason=reason,
    )


def _judges(work: UnitOfWork, model: Model) -> dict[str, Any]:
    names = work.suites.names(model.suites)
    policy = work.policies.names([model.policy])[model.policy]
    return {"suites": [names[suite] for suite in model.suites], "policy": policy}
