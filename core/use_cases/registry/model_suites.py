"""The suites of a model, and the class names they bring."""

from dataclasses import replace

from core.domain.datasets.suite import Suite
from core.domain.jobs.job import model_of
from core.domain.recipes.class_lists import distinct
from core.domain.registry.version import Model
from core.domain.values import JobId
from core.ports import UnitOfWork


def pinned_model(work: UnitOfWork, job: JobId) -> Model:
    """Return the model of a job with the suites and the policy that are pinned with the job."""
    pinned = work.jobs.get(job)
    model = work.models.get(model_of(pinned))
    suites = model.suites if pinned.suites is None else pinned.suites
    return replace(model, suites=suites, policy=pinned.policy or model.policy)


def suites_of(work: UnitOfWork, model: Model) -> tuple[Suite, ...]:
    """Return the suites a model is scored by, in the order they were given."""
    return tuple(work.suites.get(suite) for suite in model.suites)


def open_classes_of(work: UnitOfWork, model: Model) -> tuple[str, ...]:
    """All class names of a model's zero-shot suites, each once whatever its case, in order."""
    return distinct(name for suite in suites_of(work, model) for name in suite.classes)
