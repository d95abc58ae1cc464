"""A model with a live version and two candidates, and trials of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest

from core.gate.rules import Verdict
from core.registry.versions import Model
from core.trials.rules import Trial, TrialMode
from core.trials.run import start_trial
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.judged import go_live
from tests.support.factories import NOW
from tests.support.scene import Scene

Start = Callable[..., Trial]


def put_clock(scene: Scene, now: datetime) -> None:
    """Let it be this time."""
    scene.platform = replace(scene.platform, clock=lambda: now)


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model whose versions 2 and 3 passed; 2 is live, at revision 2."""
    made = scene.model()
    for parent in (1, 2):
        a_candidate(scene.platform, made, verdict=Verdict.PASSED, parent=parent)
    go_live(scene, made, 2)
    return made


@pytest.fixture
def start(scene: Scene, model: Model) -> Start:
    """Starts a trial of version 3, each a second after the one before."""
    seconds = count()

    def start(mode: TrialMode = TrialMode.SHADOW, candidate: int = 3, revision: int = 2) -> Trial:
        put_clock(scene, NOW + timedelta(seconds=next(seconds)))
        return start_trial(
            scene.platform,
            model=model.name,
            alias="production",
            candidate=candidate,
            mode=mode,
            share=0.5 if mode is TrialMode.CANARY else None,
            expected_revision=revision,
            reason="is it better?",
        )

    return start
