"""A name that a failed import has freed is given out once."""

from concurrent.futures import ThreadPoolExecutor

from core.bases.create_model import create_model
from core.database.work import Transactions
from core.errors import BaseUnknown, NameTaken
from core.jobs.queue import JobRequest
from core.jobs.rules import Monitor
from tests.support.factories import TESTER
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene

CLIENTS = 8


def test_of_many_who_make_a_model_again_at_once_one_does(transactions: Transactions) -> None:
    scene = Scene(transactions)

    def fail(_: Monitor) -> None:
        raise BaseUnknown

    def make(_: int = 0) -> bool:
        try:
            create_model(
                scene.platform,
                SilentNotifier(),
                JobRequest(principal=TESTER),
                name="demo",
                base="bundled",
            )
        except NameTaken:
            return False
        return True

    assert make()
    scene.script.training = fail
    scene.run()
    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sorted(pool.map(make, range(CLIENTS))) == [False] * (CLIENTS - 1) + [True]
