"""The short form of the machine: the same steps every time."""

from tests.machine.service import Service, run

STEPS = 500
# A machine that never gets there shows nothing.
MUST_HAPPEN = (
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
)


def test_whatever_happens_in_whatever_order_every_promise_holds() -> None:
    Service.happened.clear()
    run(STEPS, seed=0)
    assert [what for what in MUST_HAPPEN if not Service.happened[what]] == []
