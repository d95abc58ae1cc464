from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.database.work import Transactions
from core.errors import JobFinished, JobNotFound
from core.jobs.orders import JobType, UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Progress
from core.recipes.fields import Vocabulary
from core.recipes.rules import Recipe
from core.registry.versions import Model
from core.values import DatasetId, JobId
from tests.support.claims import store
from tests.support.factories import NOW, a_job, digest

LATER = NOW + timedelta(minutes=1)


def test_job_comes_back_as_it_was(transactions: Transactions, model: Model) -> None:
    order = UpdateOrder(
        dataset=DatasetId("ds_1"), dataset_version=2, recipe=Recipe(seed=3), auto_promote=False
    )
    first = a_job(model)
    job = a_job(model, type=JobType.UPDATE, order=order, metadata={"k": "v"}, retry_of=first.id)
    store(transactions, first, job)
    with transactions(read_only=True) as work:
        assert work[Jobs].get(job.id) == job
        with pytest.raises(JobNotFound):
            work[Jobs].get(JobId("job_none"))


@pytest.mark.parametrize(
    "wanted",
    [
        {"status": JobStatus.QUEUED},
        {"since": NOW},
        {"metadata": ("team", "a")},
        {"since": NOW, "metadata": ("team", None)},
    ],
)
def test_filtered_jobs_of_one_time_page_newest_first(
    transactions: Transactions, model: Model, wanted: dict[str, Any]
) -> None:
    made = [a_job(model, metadata={"team": "a"}) for _ in range(5)]
    with transactions() as work:
        for job in made:
            work[Jobs].add(job)
            older = {"status": JobStatus.SUCCEEDED, "created_at": NOW - timedelta(days=1)}
            work[Jobs].add(a_job(model, **older))
        found: list[Job] = []
        while page := work[Jobs].named_page(2, found[-1].id if found else None, **wanted):
            found += [one.job for one in page]
    assert found == made[::-1]


def test_a_page_of_jobs_holds_all_of_a_long_recipe_but_its_texts(
    transactions: Transactions, model: Model
) -> None:
    texts = tuple(f"a \u00fc-shaped “thing” \U0001f600 {number}" for number in range(2000))
    recipe = Recipe(vocabulary=Vocabulary.FILE, vocabulary_texts=texts, epochs=3)
    order = UpdateOrder(dataset=DatasetId("ds_1"), dataset_version=1, recipe=recipe)
    short = replace(order, recipe=replace(recipe, vocabulary_texts=texts[:2]))
    made = [a_job(model, type=JobType.UPDATE, order=one) for one in (order, short)]
    store(transactions, *made)
    left_out = replace(recipe, vocabulary_texts=("(left out)", "(left out, too)"))
    with transactions(read_only=True) as work:
        listed = {job.id: job.order for job in work[Jobs].page(9, None)}
        assert listed == {made[0].id: replace(order, recipe=left_out), made[1].id: short}
        assert work[Jobs].get(made[0].id).order == order


def test_cancelling_keeps_what_the_worker_wrote(transactions: Transactions, model: Model) -> None:
    with transactions() as work:
        work[Jobs].add(a_job(model))
        seen = work[Jobs].claim("w", 60, 3)
        work[Jobs].advance(seen.id, 1, lease_s=60, phase="training", progress=Progress(step=5))
        work[Jobs].cancel(seen.cancel(LATER), JobStatus.RUNNING, LATER)
        found = work[Jobs].get(seen.id)
        assert found.status is JobStatus.CANCELLING
        assert (found.phase, found.progress.step) == ("training", 5)
        status = work[Jobs].advance(
            seen.id, 1, lease_s=60, phase="training", progress=Progress(step=6)
        )
        assert status is JobStatus.CANCELLING


def test_job_that_changed_meanwhile_is_not_cancelled(
    transactions: Transactions, model: Model
) -> None:
    job = a_job(model)
    with transactions() as work:
        work[Jobs].add(job)
        work[Jobs].claim("w", 60, 3)
        with pytest.raises(JobFinished):
            work[Jobs].cancel(job.cancel(LATER), JobStatus.QUEUED, LATER)
        assert work[Jobs].get(job.id).status is JobStatus.RUNNING


def test_events_are_numbered_from_one_within_a_job(
    transactions: Transactions, model: Model
) -> None:
    one, two = a_job(model), a_job(model)
    with transactions() as work:
        work[Jobs].add(one)
        work[Jobs].add(two)
        made = [work[Jobs].add_event(one.id, "progress", {"step": n}, NOW) for n in range(4)]
        assert work[Jobs].add_event(two.id, "queued", {}, NOW).sequence == 1
        assert [event.sequence for event in made] == [1, 2, 3, 4]
        assert work[Jobs].events(one.id, 2, 1) == made[1:3]
        assert work[Jobs].events(one.id, 9, 4) == []
        with pytest.raises(JobNotFound):
            work[Jobs].add_event(JobId("job_none"), "queued", {}, NOW)


def test_number_that_json_does_not_know_becomes_null(
    transactions: Transactions, model: Model
) -> None:
    job = a_job(model)
    with transactions() as work:
        work[Jobs].add(job)
        work[Jobs].add_event(job.id, "progress", {"loss": float("nan"), "ok": 1.5}, NOW)
        assert work[Jobs].events(job.id, 1, 0)[0].data == {"loss": None, "ok": 1.5}
        claimed = work[Jobs].claim("w", 60, 3)
        terms = {"kl": float("inf"), "ce": 0.5}
        work[Jobs].advance(
            job.id, claimed.fence, lease_s=60, phase="training", progress=Progress(terms=terms)
        )
        assert work[Jobs].get(job.id).progress.terms == {"ce": 0.5}


def test_facts_of_an_error_are_kept_whatever_they_are(
    transactions: Transactions, model: Model
) -> None:
    facts = {"names": {"b", "a"}, "at": NOW, "shape": (1, 2), "status": JobStatus.QUEUED}
    with transactions() as work:
        work[Jobs].add(a_job(model))
        job = work[Jobs].claim("w", 60, 3)
        work[Jobs].finish(job.fail({"code": "x", **facts}, LATER), job.fence)
        assert work[Jobs].get(job.id).error == {
            "code": "x",
            "names": ["a", "b"],
            "at": str(NOW),
            "shape": [1, 2],
            "status": "queued",
        }


def test_only_unfinished_jobs_keep_their_checkpoints(
    transactions: Transactions, make_model
) -> None:
    done, running = (a_job(make_model()) for _ in range(2))
    with transactions() as work:
        for job in (done, running):
            work[Jobs].add(job)
            work[Jobs].claim("w", 60, 3)
            work[Jobs].set_checkpoint(job.id, 1, digest(job.id))
        work[Jobs].finish(replace(work[Jobs].get(done.id), checkpoint=None).succeed({}, LATER), 1)
        assert work[Jobs].live_checkpoints() == {digest(running.id)}
