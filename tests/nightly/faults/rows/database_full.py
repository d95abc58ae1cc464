"""The database's disk is full: orders are refused and none that was accepted is lost."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from time import sleep
from typing import Any

from devtools.servers import run_sql
from tests.nightly.faults.modes import production
from tests.nightly.faults.points import fill
from tests.nightly.faults.rows.disk_full import small_disk
from tests.nightly.faults.rows.orders import Answered, Clients, settle, wait_for_order
from tests.nightly.faults.rows.worker_kill import judge
from tests.nightly.faults.stage import START_S, Stage, now
from tests.nightly.faults.tries import Try
from tests.support.processes import wait_for

SIZE = 256 << 20  # bytes: an empty cluster with some log

CALM = {202, 503, 507}  # accepted; or refused, while it recovers or because it has no room

WITHOUT_ROOM_S = 2.0  # from the first refusal on

BALLAST = "ballast"


@contextmanager
def stuffed(**changes: Any) -> Iterator[Stage]:
    """PostgreSQL on a disk of its own; all else has room."""
    with small_disk(SIZE) as disk, production(disk=disk, **changes) as stage:
        # Its log may not grow so far that it always has room within.
        where = stage.database.url
        run_sql(where, "postgres", "ALTER SYSTEM SET max_wal_size = '48MB'")
        run_sql(where, "postgres", "ALTER SYSTEM SET min_wal_size = '32MB'")
        run_sql(where, "postgres", "SELECT pg_reload_conf()")
        yield stage


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """No room from a random moment of an update on, until orders have been refused for a while."""
    ballast = stage.database.folder / BALLAST
    for number in range(tries):
        moment = moments.uniform(0, stage.lasts_s)
        stage.ready()
        job = stage.order()
        sleep(moment)
        fill(ballast)
        struck = now()
        with Clients(stage, f"full-{number}", count=2) as clients:
            wait_for(lambda c=clients, t=struck: refused_since(c, t), seconds=START_S)
            sleep(WITHOUT_ROOM_S)
            os.truncate(ballast, 0)
            freed = now()
            wait_for(lambda: _back(stage), seconds=START_S)
            first = wait_for_order(stage, f"full-{number}-again")
        answers = [*clients.answers, first]
        codes = dict(Counter(one.status for one in answers))
        account = settle(stage, answers)
        update = judge(stage, job, struck, "")
        trouble = "" if {*codes} <= CALM else "refused otherwise than for want of room"
        yield Try(
            what=f"orders were answered {codes}",
            trouble=trouble or account.trouble or update.trouble,
            lost=account.lost + update.lost,
            duplicated=account.duplicated + update.duplicated,
            equal=update.equal,
            recovery_s=first.done - freed,
        )


def refused_since(clients: Clients, moment: float) -> list[Answered]:
    """The orders that were answered after a moment, and not accepted."""
    return [one for one in clients.answers if one.done > moment and one.status != 202]


def _back(stage: Stage) -> bool:
    """Whether the database answers again; it is started where it has given up, as by a manager."""
    if not stage.database.is_up():
        stage.database.start()
    return stage.answers()
