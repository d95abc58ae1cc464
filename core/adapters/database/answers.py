"""Which artifact holds a version's answers to a question."""

from sqlalchemy import Connection, func, select

from core.adapters.database.statements import upsert
from core.adapters.database.tables.access import answers as table
from core.domain.values import Digest


class SqlAnswerCache:
    """The port `AnswerCache`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, version: Digest, question: Digest) -> Digest | None:
        """The artifact with a version's answers to a question, if it was asked before."""
        query = select(table.c.answers).where(
            table.c.version == version, table.c.question == question
        )
        return self._connection.scalar(query)

    def add(self, version: Digest, question: Digest, answers: Digest) -> None:
        """Remember the answers; the last to be remembered count."""
        values = {"version": version, "question": question, "answers": answers}
        upsert(self._connection, table, values, key=["question", "version"])

    def judged(self, question: Digest) -> int:
        """How many versions have answered this question."""
        query = select(func.count()).select_from(table).where(table.c.question == question)
        return self._connection.scalar(query) or 0
