"""Who works for the service, as its workers say themselves."""

from core.fleet.rows import Heartbeats
from core.jobs.rules import HeldJob
from core.operations.maintenance import delete_expired
from core.values import JobId
from tests.support.api.service import Service
from worker.supervision.supervisor import facts_of


def age(service: Service, seconds: float) -> None:
    """Let all beats be so much older."""
    with service.platform.transactions() as work:
        work[Heartbeats]._connection.exec_driver_sql(  # type: ignore[attr-defined]
            f"UPDATE beats SET at = at - {seconds}"
        )
        work.commit()


def test_a_silent_worker_is_shown_stale_and_forgotten_after_a_day(service: Service) -> None:
    held = (HeldJob(id=JobId("job_1"), status="running", lease_s=9),)
    facts = facts_of(device="cuda:0", queues=("gpu",), child=1, starts=2, held=held)
    with service.platform.transactions() as work:
        work[Heartbeats].record("gpu-7:1f3a", facts)
        work.commit()
    (shown,) = service.client.get("/v1/workers").json()["data"]
    assert (shown["id"], shown["fresh"], shown["state"]) == ("gpu-7:1f3a", True, "busy")
    assert (shown["job"], shown["device"], shown["starts"]) == ("job_1", "cuda:0", 2)
    assert shown["queues"] == ["gpu"]
    assert shown["version"]
    assert 0 <= shown["beat_age_s"] < 10
    age(service, 60)
    assert service.client.get("/readyz").status_code == 503
    (shown,) = service.client.get("/v1/workers").json()["data"]
    assert (shown["fresh"], round(shown["beat_age_s"], -1)) == (False, 60)
    age(service, 25 * 3600)
    delete_expired(service.platform)
    assert service.client.get("/v1/workers").json()["data"] == []
