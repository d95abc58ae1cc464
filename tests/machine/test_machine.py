"""The short form of the machine: some random steps, and steps in which all happens once."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.datasets.manifests import Part
from core.erasure.rules import Retraining
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.nightly.machine.clients import NEWEST, Update
from tests.nightly.machine.machine import WRITES
from tests.nightly.machine.service import Service, run
from tests.nightly.machine.world import LESSONS, LOOSE, POLICY, SUITE, quick_and_repeatable

STEPS = 150

HAPPEN = {
    "request repeated",
    "api killed at order.after",
    "api killed at promote.before",
    "worker killed at claim.after",
    "worker killed at checkpoint.before",
    "worker killed at publish.before",
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
}


@contextmanager
def a_service() -> Iterator[Service]:
    """A service on which a test takes the steps, whose promises are checked again at its end."""
    Service.happened.clear()
    with quick_and_repeatable():
        service = Service()
        try:
            yield service
        finally:
            service.teardown()


def test_whatever_happens_in_whatever_order_every_promise_holds() -> None:
    run(STEPS, seed=3)


def test_every_promise_holds_where_all_of_it_happens() -> None:
    with a_service() as service:
        orders_and_deaths(service)
        moves_and_collections(service)
        erasures(service)
    assert set() == HAPPEN - {what for what, times in Service.happened.items() if times}


def orders_and_deaths(service: Service) -> None:
    """Requests that are repeated, workers that die, and one that has lost its job."""
    service.learn(seeds=[0, 1])
    update(service, lesson=2, death="order.after", strikes=["claim.after", "publish.after"])
    update(service, lesson=3, strikes=["checkpoint.before", "publish.before"])
    update(service, lesson=4, strikes=["verdict.before"])
    service.ask_again(which=NEWEST)

    update(service, lesson=1, strikes=None)
    service.overtake(which=0, points=1000)
    for write in WRITES:
        service.write_from_the_grave(which=0, write=write)
    service.promises_hold()


def moves_and_collections(service: Service) -> None:
    """Promotions, rollbacks, blame, deletions, and weights that are given up."""
    last = len(service.promises.versions) - 1
    for death in ("promote.before", None):
        service.promote(which=last, override=True, reason="because", late=0, death=death)
        service.promises_hold()
    service.roll_back(which=0, death=None)
    service.question(which=0, blame=True, death=None)
    work(service)

    service.delete(which=0)
    service.delete(which=len(service.trained()) - 1)
    service.promises_hold()
    service.collect_all(keep_last=0)
    service.promises_hold()


def erasures(service: Service) -> None:
    """Images are erased by workers that die, and what has learned from them is not promoted."""
    for number, strike in enumerate(("erase.before", "erase.after")):
        service.erase(
            which=number, image=number, retraining=Retraining.ALL, death=None, strike=strike
        )
        service.promises_hold()
        work(service)
    marked = next(
        place
        for place, (_, version) in enumerate(service.promises.versions)
        if version.erasure is not None and version.collected_at is None
    )
    move = {"which": marked, "override": False, "reason": "because", "late": 0, "death": None}
    service.promote(**move, name="staging")  # in production it is live already
    service.promises_hold()


def test_every_verdict_counts_for_what_it_covers() -> None:
    """Steps after which looser policies, canaries and an erasure might let a version go live."""
    with a_service() as service:
        service.learn(seeds=[0, 1])
        service.promises_hold()
        kept, failed = service.trained()
        assert failed[1].verdict is Verdict.FAILED

        try_failed(service)
        judge_again(service, policy=LOOSE, which=1)
        try_failed(service)
        judge_again(service, policy=POLICY, which=1)
        try_failed(service)

        erase_a_test_image(service, kept[1])
        judge_again(service, policy=POLICY, which=0)
    assert {
        "canary refused: gate_failed",
        "move refused: gate_failed",
        "canary began",
        "canary ended: failed",
        "verdict stood",
    } <= {what for what, times in service.happened.items() if times}


def try_failed(service: Service) -> None:
    """Start a canary of the newest version, and promote it unless that began."""
    newest = len(service.promises.versions) - 1
    before = service.happened["canary began"]
    service.try_canary(which=newest, reason="because")
    if service.happened["canary began"] == before:
        service.promote(which=newest, override=False, reason="because", late=0, death=None)
    service.promises_hold()


def judge_again(service: Service, *, policy: str, which: int) -> None:
    """Have a policy judge a version that an update made."""
    service.configure(policy=policy, suites=(SUITE,), which=0)
    service.question(which=which, blame=False, death=None)
    work(service)


def erase_a_test_image(service: Service, version: Version) -> None:
    """Erase an image by which a version was judged, and from which none has learned."""
    datasets = {one.dataset for _, one in service.trained()}
    learned = [one for one in service.world.lessons if one.dataset in datasets]
    which = next(n for n, one in enumerate(learned) if one.dataset == version.dataset)
    held = service.world.manifest(learned[which]).entries
    image = next(n for n, one in enumerate(held) if one.part is Part.TEST)
    service.erase(which=which, image=image, retraining=Retraining.NONE, death=None, strike=None)
    work(service)


def test_a_line_is_taught_lesson_after_lesson_while_all_spare_weights_are_given_up() -> None:
    """Steps that the machine may take, in the order in which scoring once missed weights."""
    with a_service() as service:
        service.learn(seeds=[0] * (len(LESSONS) - 1))
        service.go_on_learning(lesson=len(LESSONS) - 1, seed=0, keep_last=1)
        service.promises_hold()
        assert any(version.collected_at for _, version in service.promises.versions)


def update(
    service: Service, *, lesson: int, death: str | None = None, strikes: list[str] | None
) -> None:
    """Order an update of the newest version, and see that the promises hold."""
    order = Update(lesson=lesson, seed=1, parent=NEWEST)
    service.update(order, death=death, strikes=strikes)
    service.promises_hold()


def work(service: Service) -> None:
    """Have a worker run the next job, and see that the promises hold."""
    worker = service.world.start_worker()
    service.advance(worker, worker.go_on)
    service.promises_hold()
