"""Which suites judge a model."""

import time
from concurrent.futures import ThreadPoolExecutor

from core.registry.configure import configure_model
from core.registry.rows import Models
from tests.support.scene import Scene


def test_last_choice_of_suites_at_the_same_time_counts_and_each_suite_once(
    scene: Scene,
) -> None:
    data, model = scene.frozen("cat", "dog"), scene.model()
    one, two = (scene.suite(model, data, name) for name in ("one", "two"))
    with ThreadPoolExecutor(1) as pool:
        with scene.platform.transactions() as work:
            work[Models].set_suites(model.id, [one.id])
            choice = pool.submit(
                configure_model,
                scene.platform,
                model.name,
                suites=["two", two.id, "two"],
                policy=None,
            )
            time.sleep(0.3)
            work.commit()
        assert choice.result().suites == (two.id,)
