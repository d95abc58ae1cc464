"""Claims: the order in which jobs are given to workers."""

from collections.abc import Callable

from core.database.work import Transactions
from core.jobs.orders import EvaluateOrder, JobType, Queue
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.registry.versions import Model
from tests.support.claims import claim, lose, queue
from tests.support.factories import NOW, a_job


def test_claim_takes_the_job(transactions: Transactions, model: Model) -> None:
    [job] = queue(transactions, model)
    claimed = claim(transactions)
    assert claimed is not None
    assert (claimed.id, claimed.status) == (job.id, JobStatus.RUNNING)
    assert (claimed.fence, claimed.attempt, claimed.lost) == (1, 1, 0)
    assert claimed.started_at is not None
    assert claim(transactions) is None


def test_jobs_of_a_model_run_first_in_first_out(transactions: Transactions, model: Model) -> None:
    made = queue(transactions, model, 3)
    for job in made:
        claimed = claim(transactions)
        assert claimed is not None
        assert claimed.id == job.id
        assert claim(transactions) is None
        with transactions() as work:
            work[Jobs].finish(claimed.succeed({}, NOW), claimed.fence)
            work.commit()
    assert claim(transactions) is None


def test_models_do_not_wait_for_one_another(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    one, two = make_model(), make_model()
    [first], [second] = queue(transactions, one), queue(transactions, two)
    assert [claim(transactions).id for _ in range(2)] == [first.id, second.id]


def claim_in_turn(transactions: Transactions) -> list[str]:
    """The jobs in the order they are claimed, each ended before the next."""
    order = []
    while (job := claim(transactions)) is not None:
        order.append(job.id)
        with transactions() as work:
            work[Jobs].finish(job.succeed({}, NOW), job.fence)
            work.commit()
    return order


def test_of_the_models_next_jobs_the_highest_priority_goes_first(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    low, high, same = (a_job(make_model(), priority=value) for value in (1, 9, 1))
    # Within a model the order is that of coming: the urgent one waits for the one before it.
    model = make_model()
    first, urgent = a_job(model, priority=0), a_job(model, priority=9)
    with transactions() as work:
        for job in (low, high, same, first, urgent):
            work[Jobs].add(job)
        work.commit()
    wanted = [high, low, same, first, urgent]
    assert claim_in_turn(transactions) == [job.id for job in wanted]


def test_a_worker_claims_the_jobs_of_its_queues_alone(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    scoring = a_job(make_model(), type=JobType.EVALUATE, order=EvaluateOrder(version=1))
    imported = a_job(make_model())
    with transactions() as work:
        for job in (scoring, imported):
            work[Jobs].add(job)
        work.commit()
    with transactions() as work:
        assert work[Jobs].claimable() == {Queue.GPU, Queue.HOUSEKEEPING}
        assert work[Jobs].claimable([Queue.HOUSEKEEPING]) == {Queue.HOUSEKEEPING}
        assert work[Jobs].claim("w", 60, 3, [Queue.HOUSEKEEPING]).id == imported.id
        assert work[Jobs].claim("w", 60, 3, [Queue.HOUSEKEEPING]) is None
        assert work[Jobs].claimable() == {Queue.GPU}
        assert work[Jobs].claim("w", 60, 3, [Queue.GPU]).id == scoring.id


def test_claimable_says_what_claim_would_find(transactions: Transactions, model: Model) -> None:
    def claimable() -> set[Queue]:
        with transactions(read_only=True) as work:
            return work[Jobs].claimable()

    assert not claimable()
    queue(transactions, model, 2)
    assert claimable()
    lose(transactions)
    assert claimable()
    claim(transactions)
    assert not claimable()
