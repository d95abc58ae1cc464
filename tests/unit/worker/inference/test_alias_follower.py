"""Versions that are live, newest or on trial are loaded before they are asked."""

import time
from dataclasses import replace

import pytest
import torch
from fastapi.testclient import TestClient

from core.clip.model import ClipModel
from core.errors import ArtifactsUnavailable
from core.gate.policies import ensure_default_policy
from core.gate.rows import Policies
from core.jobs.rows import Jobs
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.aliases import MoveKind
from core.registry.promote import move_alias
from core.registry.rows import Models, Versions
from core.registry.versions import Version
from core.trials.rows import Trials
from core.values import Digest, ModelId
from tests.support.api.seeds import a_root
from tests.support.factories import NOW, a_job, a_model, a_policy, a_trial, a_version
from tests.unit.worker.inference.conftest import store, weights_of
from worker.inference.models import AliasFollower, ModelCache


def test_what_goes_live_is_loaded_within_a_second(client: TestClient, platform: Platform) -> None:
    first, second = store(platform, 1), store(platform, 2)
    with platform.transactions() as work:
        policy = a_policy()
        work[Policies].add(policy)
        model = a_model(policy)
        work[Models].add(model)
        job = a_job(model)
        work[Jobs].add(job)
        versions = [a_version(job, n, digest=d) for n, d in ((1, first), (2, second))]
        for version in versions:
            work[Versions].add(version)
        work.commit()

    for version in versions:
        point_production_to(platform, version)
        deadline = time.monotonic() + 5
        while version.digest not in client.get("/loaded").json()["digests"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def point_production_to(platform: Platform, version: Version) -> None:
    with platform.transactions() as work:
        move_alias(
            work,
            work[Aliases].find(version.model, "production"),
            name="production",
            to=version,
            kind=MoveKind.PROMOTED,
            reason="",
            actor="tests",
            now=NOW,
        )
        work.commit()


@pytest.mark.parametrize("fault", [RuntimeError("no luck"), ArtifactsUnavailable("no luck")])
def test_version_that_cannot_be_loaded_keeps_no_other_from_going_live(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    class Unlucky(ModelCache):
        def get(self, digest: Digest) -> ClipModel:
            raise fault

    models = Unlucky(platform.artifacts, torch.device("cpu"), max_bytes=1)
    follower = AliasFollower(platform, models)
    digest = store(platform, 1)
    monkeypatch.setattr(AliasFollower, "_named", lambda _: [digest])
    follower.look()
    follower.look()
    assert caplog.text.count("no luck") == 1


def test_the_follower_passes_over_an_alias_whose_model_is_deleted_as_it_looks(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_default_policy(platform)
    model = a_root(platform)
    with platform.transactions(read_only=True) as work:
        (alias,) = work[Aliases].all()
        digest = work[Versions].get(model.id, 1).digest
    gone = replace(alias, model=ModelId("model_gone"))
    models = ModelCache(platform.artifacts, torch.device("cpu"), max_bytes=1)
    monkeypatch.setattr(Aliases, "all", lambda _: [gone, alias])
    assert set(AliasFollower(platform, models)._named()) == {digest}


def test_the_newest_version_is_loaded_before_it_goes_live(platform: Platform) -> None:
    ensure_default_policy(platform)
    model = a_root(platform, weights=weights_of(platform, 1))
    with platform.transactions() as work:
        root = work[Versions].get(model.id, 1)
        job = a_job(model)
        work[Jobs].add(job)
        candidate = a_version(job, 2, digest=store(platform, 2))
        work[Versions].add(candidate)
        work.commit()
    models = ModelCache(platform.artifacts, torch.device("cpu"), max_bytes=10**9)
    AliasFollower(platform, models).look()
    assert set(models.digests()) == {root.digest, candidate.digest}


def test_the_candidate_of_a_trial_is_loaded_before_it_is_asked(platform: Platform) -> None:
    ensure_default_policy(platform)
    model = a_root(platform, weights=weights_of(platform, 1))
    with platform.transactions() as work:
        job = a_job(model)
        work[Jobs].add(job)
        versions = [a_version(job, number, digest=store(platform, number)) for number in (2, 3)]
        for version in versions:
            work[Versions].add(version)
        work[Trials].start(a_trial(model=model.id), work[Aliases].get(model.id, "production"))
        work.commit()
    models = ModelCache(platform.artifacts, torch.device("cpu"), max_bytes=10**9)
    AliasFollower(platform, models).look()
    assert {version.digest for version in versions} < set(models.digests())
