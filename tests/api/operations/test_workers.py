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
    told = {"device": "cuda:0 (L4)", "device_reason": "1 GPU found", "threads": 8}
    facts = facts_of(told=told, queues=("gpu",), child=1, starts=2, held=held)
    with service.platform.transactions() as work:
        work[Heartbeats].record("gpu-7:1f3a", facts)
        work.commit()
    (shown,) = service.client.get("/v1/workers").json()["data"]
    assert (shown["id"], shown["fresh"], shown["state"]) == ("gpu-7:1f3a", True, "busy")
    assert (shown["job"], shown["device"], shown["starts"]) == ("job_1", "cuda:0 (L4)", 2)
    assert (shown["device_reason"], shown["threads"]) == ("1 GPU found", 8)
    with service.platform.transactions() as work:  # neither trains yet
        work[Heartbeats].record("gpu-8:1", {"queues": ["gpu"]})
        work[Heartbeats].record("cpu-1:1", told | {"queues": ["housekeeping"]})
        work.commit()
    on = service.client.get("/readyz").json()["trains_on"]
    assert on == ["cuda:0 (L4), 8 threads; 1 GPU found"]
    with service.platform.transactions() as work:
        for other in ("gpu-8:1", "cpu-1:1"):
            work[Heartbeats].forget(other)
        work.commit()
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
