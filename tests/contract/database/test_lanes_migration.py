"""The migration that gives jobs lanes copies the table on SQLite: nothing of a job may change."""

from contextlib import closing

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from core.database.migrate import migrate, revert
from core.database.work import Transactions
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind
from core.values import JobId
from tests.support.factories import a_job_of_no_model
from tests.support.old_rows.first_release import MODEL, WHEN
from tests.support.old_rows.rows import write_rows, writing


def test_jobs_keep_their_places_and_events_when_lanes_come_and_go(empty_url: str) -> None:
    migrate(empty_url, "0009")
    with writing(empty_url) as connection:
        write_rows(connection, "0009")
        connection.execute(text("UPDATE jobs SET position = 0 WHERE id = 'job_2'"))
        before = places_and_events(connection)

    migrate(empty_url)
    with closing(Transactions(empty_url)) as transactions, transactions() as work:
        added = a_job_of_no_model("dataset:ds_1", id=JobId("job_3"))
        work[Jobs].add(added)
        work[Jobs].add_event(added.id, EventKind.QUEUED, {}, WHEN)
        claimed = [work[Jobs].claim("w", 60, 3) for _ in range(3)]
        assert [job and (job.id, job.lane) for job in claimed] == [
            ("job_1", MODEL),
            ("job_3", "dataset:ds_1"),
            None,
        ]
        work.commit()
    with writing(empty_url) as connection:
        places, events = places_and_events(connection)
        assert (places[:-1], events[:-1]) == before
        assert (places[-1][1], events[-1]) == ("job_3", ("job_3", 1, "queued"))

    revert(empty_url, "0009")
    with writing(empty_url) as connection:
        assert places_and_events(connection) == before
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(text("UPDATE jobs SET model = NULL"))


Place, Event = tuple[int, str], tuple[str, int, str]


def places_and_events(
    connection: Connection,
) -> tuple[list[Place], list[Event]]:
    """The place of each job in order of arrival, and each event of a job."""
    places = connection.execute(text("SELECT position, id FROM jobs ORDER BY position"))
    events = connection.execute(text("SELECT job, sequence, kind FROM job_events ORDER BY job"))
    return [(*row,) for row in places], [(*row,) for row in events]
