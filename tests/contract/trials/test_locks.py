"""A model is deleted while its trial is written to: one waits for the other, and neither fails."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from core.database.tables import trials
from core.errors import PredictionNotFound, TrialNotFound
from core.registry.versions import Model
from core.trials.record import Batch, label_predictions, record_predictions
from core.trials.rules import TrialMode
from core.trials.run import stop_trial
from core.upkeep.delete import delete_model
from tests.contract.trials.conftest import Start
from tests.support.factories import a_prediction
from tests.support.processes import wait_for
from tests.support.scene import Scene
from tests.support.storage.databases import waiting


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("writer", ["label", "stop"])
def test_a_model_is_deleted_while_its_trial_is_written_to(
    scene: Scene, model: Model, start: Start, writer: str
) -> None:
    platform, trial = scene.platform, start(TrialMode.CANARY)
    made = a_prediction(trial=trial.id)
    record_predictions(platform, Batch(predictions=[made]))
    with ThreadPoolExecutor() as threads:
        with platform.transactions() as first:
            held = select(trials.c.id).where(trials.c.id == trial.id)
            first.connection.execute(held.with_for_update())
            deleting = threads.submit(delete_model, platform, model=model.name, reason="a test")
            wait_for(lambda: waiting(platform.transactions) >= 1, seconds=60, every=0.01)
            if writer == "label":
                labelled = threads.submit(label_predictions, platform, [(made.id, "boot")])
            else:
                named = {"model": model.name, "alias": "production", "trial": trial.id}
                stopped = threads.submit(stop_trial, platform, **named)
            wait_for(lambda: waiting(platform.transactions) >= 2, seconds=60, every=0.01)
        assert deleting.result() == model
        if writer == "label":
            [receipt] = labelled.result()
            assert isinstance(receipt.refusal, PredictionNotFound)
        else:
            assert isinstance(stopped.exception(), TrialNotFound)
