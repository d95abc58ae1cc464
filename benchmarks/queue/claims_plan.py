"""The cost of finding the next job, in work that the database counts.

Times on a busy machine are unreliable, so work is counted too: the pages that PostgreSQL reads
(`EXPLAIN ANALYZE`), or the steps of SQLite's virtual machine.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, cast

from sqlalchemy import Connection

from benchmarks.queue.seed_jobs import SHAPES, fill
from core.adapters.database.jobs.claims import claimable_heads
from core.adapters.database.migrate import migrate
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.unit_of_work import SqlTransactions
from core.domain.jobs.order import Queue
from core.domain.registry.version import Model

TRIES = 50


def grow(
    database: str, url: str, shape: str, sizes: Sequence[int]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield a row of the table and the query plan at each size of one growing queue."""
    migrate(url)
    known: list[Model] = []
    with closing(SqlTransactions(url)) as transactions:
        for size in sorted(sizes):
            fill(transactions, shape, size, known)
            with transactions() as work:
                connection = work._connection
                assert connection is not None
                plan = explain(connection, sql_of(connection))
                cost = steps_of(connection) if database == "SQLite" else pages_in(plan)
                find = min(times_ms(partial(_find, connection, sql_of(connection))))
            claim = statistics.median(times_ms(partial(_claim, transactions)))
            yield (
                {
                    "database": database,
                    "rows": shape,
                    "size": size,
                    "models": len(known),
                    "work": cost,
                    "find ms, least": find,
                    "claim, give back ms": claim,
                    "index": ", ".join(sorted(set(re.findall(r"\b(?:ix|ux|pk)_jobs\w*", plan)))),
                    "scans jobs": "Seq Scan on jobs" in plan or "SCAN jobs" in plan,
                },
                plan,
            )


def growth(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the ratio of a claim's work at the largest size to that at the smallest."""
    found = []
    for database, shape in dict.fromkeys((row["database"], row["rows"]) for row in rows):
        mine = [row for row in rows if (row["database"], row["rows"]) == (database, shape)]
        first, last = mine[0], mine[-1]
        found.append(
            {
                "database": database,
                "rows": shape,
                "models": "fixed" if SHAPES[shape][0] else f"{first['models']} to {last['models']}",
                "from, to": f"{first['size']}, {last['size']}",
                "growth": round(last["work"] / first["work"], 2),
            }
        )
    return found


def sql_of(connection: Connection) -> str:
    """Return the statement that finds the next job, with literal values."""
    query = claimable_heads(connection, tuple(Queue)).limit(1)
    query = query.with_for_update(of=jobs, skip_locked=True, key_share=True)
    text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
    return text.replace("%%", "%") if connection.dialect.name == "sqlite" else text


def explain(connection: Connection, sql: str) -> str:
    """Return the query plan, one step per line; on PostgreSQL with its actual costs."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(f"  {row[3]}" for row in rows)
    rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {sql}")
    return "\n".join(f"  {row[0]}" for row in rows)


def pages_in(plan: str) -> int:
    """Return the number of pages that a statement read, from the plan's first line with buffers."""
    buffers = re.search(r"Buffers: (.*)", plan)
    assert buffers is not None, plan
    return sum(map(int, re.findall(r"(?:hit|read)=(\d+)", buffers[1])))


def steps_of(connection: Connection) -> int:
    """Return the number of steps that SQLite's virtual machine takes to find the next job."""
    sql, steps = sql_of(connection), [0]

    def count() -> int:
        steps[0] += 1
        return 0

    driver = cast(Any, connection.connection.dbapi_connection)
    driver.set_progress_handler(count, 1)
    driver.execute(sql).fetchall()
    driver.set_progress_handler(None, 1)
    return steps[0]


def times_ms(act: Callable[[], object]) -> list[float]:
    """Call a function TRIES times; return the milliseconds of each call."""
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        act()
        took.append(1000 * (time.perf_counter() - began))
    return took


def _find(connection: Connection, sql: str) -> None:
    assert connection.exec_driver_sql(sql).first() is not None


def _claim(transactions: SqlTransactions) -> None:
    with transactions() as work:
        job = work.jobs.claim("bench", 60, 3)
        work.commit()
    assert job is not None
    with transactions() as work:
        work.jobs.release(job.id, job.fence)
        work.commit()
