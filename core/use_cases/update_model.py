"""Train a candidate version."""

from core.domain.dataset import Side
from core.domain.prompt import PromptTemplate
from core.domain.recipe import distinct
from core.domain.update import Job, UpdateOrder
from core.domain.version import Version
from core.ports import Platform, Trainer, TrainingTask, Watch
from core.use_cases.datasets import refuse_suite_images
from core.use_cases.lineage import ancestors
from core.use_cases.manifests import read_manifest
from core.use_cases.suites_of import open_classes_of


def update_model(
    platform: Platform, trainer: Trainer, job: Job, order: UpdateOrder, watch: Watch
) -> int:
    """Train with no transaction open and commit the candidate; its version number.

    A resumed job that has committed its candidate already goes on from there. Raises
    AliasNotFound or VersionNotFound without a parent, ImageInSuite when an image has become
    a suite's since the job was ordered, and what the trainer raises.
    """
    if job.version is not None:
        return job.version
    with platform.transactions() as work:
        model = work.models.get(job.model)
        number = job.parent_version or order.parent
        if number is None:
            number = work.aliases.get(model.id, order.alias).version
        parent = work.versions.get(model.id, number)
        work.jobs.set_parent(job.id, job.fence, parent.number)
        dataset_version = work.datasets.version(order.dataset, order.dataset_version)
        open_classes = open_classes_of(work, model)
        root = (*ancestors(work, parent), parent)[0]
        work.commit()
    manifest = read_manifest(platform.artifacts, dataset_version.manifest)
    with platform.transactions(read_only=True) as work:
        refuse_suite_images(work, manifest)
    prompt = PromptTemplate(order.prompt) if order.prompt else parent.prompt
    task = TrainingTask(
        parent=parent.digest,
        root=root.digest,
        recipe=order.recipe,
        classes=dataset_version.classes,
        learned=parent.classes,
        open_classes=open_classes,
        images=manifest.on(Side.TRAIN),
        prompt=prompt,
    )
    weights = trainer.train(task, resume=job.checkpoint, watch=watch).weights
    now = platform.clock()
    with platform.transactions() as work:
        candidate = Version(
            model=model.id,
            number=work.versions.next_number(model.id),
            digest=weights.digest,
            size=weights.size,
            parent=parent.number,
            job=job.id,
            recipe=order.recipe,
            dataset=order.dataset,
            dataset_version=order.dataset_version,
            update_classes=dataset_version.classes,
            classes=distinct(parent.classes + dataset_version.classes),
            prompt=prompt,
            environment=dict(trainer.environment()),
            created_at=now,
        )
        work.versions.add(candidate)
        checkpoint = work.jobs.get(job.id).checkpoint
        work.jobs.set_version(job.id, job.fence, candidate.number)
        work.jobs.add_event(job.id, "candidate", {"version": candidate.number}, now)
        work.commit()
    if checkpoint is not None:
        platform.artifacts.delete(checkpoint)
    return candidate.number
