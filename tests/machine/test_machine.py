"""The short form of the machine: as a rule one seed's steps, more until all has happened."""

from tests.nightly.machine.clients import NEWEST, Update
from tests.nightly.machine.service import Service, run
from tests.nightly.machine.world import LESSONS, quick_and_repeatable

STEPS = 500
# What each draws depends on the release of Hypothesis and on what is imported.
SEEDS = (3, 8, 10, 5)
# A machine that never gets there shows nothing.
MUST_HAPPEN = (
    "request repeated",
    "api killed at order.after",
    "api killed at promote.before",
    "worker killed at claim.after",
    "worker killed at publish.after",
    "worker killed at verdict.before",
    "stale worker went on",
    "stale write refused",
    "alias promoted",
    "alias rolled_back",
    "artifact collected",
    "weights given up",
    "version deleted",
    "deletion refused",
    "blame judged: None",
    "erase judged: None",
    "version marked",
    "version trained again",
    "move refused: learned_erased_images",
    "worker killed at erase.before",
    "worker killed at erase.after",
)


def test_whatever_happens_in_whatever_order_every_promise_holds() -> None:
    Service.happened.clear()
    for seed in SEEDS:
        run(STEPS, seed=seed)
        if (missing := [what for what in MUST_HAPPEN if not Service.happened[what]]) == []:
            break
    assert missing == []


def test_an_update_ends_well_whose_workers_die_before_a_checkpoint_and_its_publication() -> None:
    """Steps that the machine may take, and that no seed here does."""
    Service.happened.clear()
    with quick_and_repeatable():
        service = Service()
        try:
            service.learn(seeds=[0])
            update = Update(lesson=1, seed=1, parent=NEWEST)
            service.update(update, death=None, strikes=["checkpoint.before", "publish.before"])
            service.promises_hold()
            assert Service.happened["worker killed at checkpoint.before"]
            assert Service.happened["worker killed at publish.before"]
        finally:
            service.teardown()


def test_a_line_is_taught_lesson_after_lesson_while_all_spare_weights_are_given_up() -> None:
    """Steps that the machine may take, in the order in which scoring once missed weights."""
    with quick_and_repeatable():
        service = Service()
        try:
            service.learn(seeds=[0] * (len(LESSONS) - 1))
            service.go_on_learning(lesson=len(LESSONS) - 1, seed=0, keep_last=1)
            service.promises_hold()
            assert any(version.collected_at for _, version in service.promises.versions)
        finally:
            service.teardown()
