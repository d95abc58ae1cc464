"""The release before knows no deleted aliases: on the way back their history is forgotten."""

from contextlib import closing

from sqlalchemy import text

from core.database.migrate import migrate, revert
from core.database.work import Transactions
from core.registry.alias_rows import Aliases
from core.registry.aliases import delete
from tests.support.factories import NOW
from tests.support.old_rows.first_release import MODEL
from tests.support.old_rows.rows import write_rows, writing

MOVES = text("SELECT alias, revision FROM alias_moves ORDER BY alias, revision")

STAGING = (
    text("INSERT INTO aliases SELECT model, 'staging', version, 1, updated_at FROM aliases"),
    text(
        "INSERT INTO alias_moves SELECT model, 'staging', revision, kind, from_version, to_version,"
        " reason, actor, at, override FROM alias_moves"
    ),
)


def test_the_history_of_a_deleted_alias_ends_with_the_release(empty_url: str) -> None:
    migrate(empty_url, "0015")
    with writing(empty_url) as connection:
        write_rows(connection, "0015")
        for insert in STAGING:
            connection.execute(insert)

    migrate(empty_url)
    with closing(Transactions(empty_url)) as transactions, transactions() as work:
        alias = work[Aliases].lock(MODEL, "staging")
        work[Aliases].remove(delete(alias, reason="", actor="tests", now=NOW))
        assert work[Aliases].last_revision(MODEL, "staging") == 2
        work.commit()

    revert(empty_url, "0015")
    with writing(empty_url) as connection:
        assert [tuple(row) for row in connection.execute(MOVES)] == [("production", 1)]
