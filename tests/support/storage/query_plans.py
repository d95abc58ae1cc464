"""Plans of a database for the statements that it executes."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event, text

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


def last_plan_of(connection: Connection) -> Callable[[], str]:
    """Return a function that tells the plan of the last statement from now on.

    Statistics are gathered on PostgreSQL alone, which does so by itself; SQLite does not.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(text("ANALYZE"))
    asked: list[tuple[str, Any]] = []

    @event.listens_for(connection, "before_cursor_execute")
    def note(_one: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
        asked.append((statement, values))

    def last_plan() -> str:
        statement, values = asked[-1]
        rows = connection.exec_driver_sql(EXPLAIN[dialect] + statement, values)
        return "\n".join(str(row) for row in rows)

    return last_plan
