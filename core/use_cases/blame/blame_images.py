"""Train an update again without each group of its images, and ask what that changes."""

from core.domain.evaluation.query import ClassAnswers
from core.domain.jobs.job import Job
from core.domain.jobs.order import BlameOrder
from core.domain.recipes.choices import Precision
from core.domain.values import canonical_json
from core.errors import ArtifactMissing, ImageErased
from core.ports import Evaluator, Monitor, Platform, Trainer, UnitOfWork
from core.use_cases.blame.blame_plan import BlamePlan, plan_blame
from core.use_cases.blame.blame_report import blame_report
from core.use_cases.blame.finished_groups import FinishedGroup, read_finished
from core.use_cases.blame.group_monitor import GroupMonitor
from core.use_cases.blame.order_blame import keep_versions
from core.use_cases.registry.model_suites import pinned_model
from core.use_cases.training.slow_precision import warn_if_slow
from core.use_cases.training.training_spec import spec_of


def blame_images(
    platform: Platform,
    trainer: Trainer,
    evaluator: Evaluator,
    job: Job,
    order: BlameOrder,
    monitor: Monitor,
) -> None:
    """Find the images that cost a class its accuracy; a resumed job trains no group again.

    Nothing is promoted, and what is trained becomes no version: no row names its weights, so that
    garbage collection deletes them. Raises what `plan_blame`, `spec_of` and the trainer raise,
    and ImageErased or LearnedErasedImages when something that it needs was erased meanwhile.
    """
    plan = _pin(platform, trainer, job, order, monitor)
    finished = read_finished(platform.artifacts, job.checkpoint, plan.digest)
    by_group = GroupMonitor(platform, job, monitor, finished, len(plan.groups))
    try:
        for group in plan.groups[len(finished.groups) :]:
            spec = spec_of(platform, plan.inputs, without=group.pixels)
            resume = by_group.finished.training
            trained = trainer.train(spec, resume=resume, monitor=by_group)
            answers = evaluator.answer(trained.weights.digest, plan.queries, by_group)
            found = FinishedGroup(
                digest=trained.weights.digest,
                environments=trained.environments,
                answers=tuple(one for one in answers if isinstance(one, ClassAnswers)),
            )
            by_group.finish(found, len(group.entries))
    except ArtifactMissing:
        with platform.transactions(read_only=True) as work:
            _require_unerased(work, plan)
        raise
    report = blame_report(plan, order, by_group.finished.groups)
    stored = platform.artifacts.put(canonical_json(report))
    result = {
        "version": order.version,
        "report": stored,
        "groups": len(plan.groups),
        "blamed": [
            {"class": one["class"], "group": one["groups"][0]["group"]}
            for one in report["classes"]
            if one["groups"][0]["clear"]
        ],
    }
    with platform.transactions() as work:
        _require_unerased(work, plan)
        work.jobs.finish(job.succeed(result, platform.clock()), job.fence)
        work.commit()
    by_group.clear()


def _pin(
    platform: Platform, trainer: Trainer, job: Job, order: BlameOrder, monitor: Monitor
) -> BlamePlan:
    native = trainer.native_precisions()
    precision = job.precision or Precision.AUTO.on(native)
    with platform.transactions() as work:
        model = pinned_model(work, job.id)
        parent = keep_versions(work, model, order)
        work.jobs.set_parent(job.id, job.fence, parent.number)
        work.jobs.pin_precision(job.id, job.fence, precision)
        work.commit()
    plan = plan_blame(platform, model, order, precision)
    warn_if_slow(plan.inputs.order.recipe.precision, native, monitor)
    return plan


def _require_unerased(work: UnitOfWork, plan: BlamePlan) -> None:
    """Raise unless all images are still there that the report depends on."""
    work.versions.get(plan.model.id, plan.version.number).require_clean()
    tested = {entry.pixels for query in plan.queries for entry in query.entries}
    if erased := work.erasures.erased(tested):
        raise ImageErased(
            "A test image was erased while versions were asked about it: order the blame again.",
            pixels=sorted(erased)[:20],
        )
