"""Which arithmetic an update computes in, and what is said when its machine changed on the way."""

import pytest

from core.errors import DatabaseUnavailable
from core.jobs.rules import JobStatus, Monitor
from core.recipes.fields import Precision
from core.recipes.rules import Recipe
from tests.support.scene import Scene

NATIVE = {
    Precision.BF16: frozenset({Precision.FP32, Precision.BF16}),
    Precision.FP32: frozenset({Precision.FP32}),
}

HOME, AWAY = {"device": "cpu", "threads": "2"}, {"device": "cuda", "threads": "2"}


def die(monitor: Monitor) -> None:
    raise DatabaseUnavailable


def quietly(monitor: Monitor) -> None:
    monitor.advance("training", 1, 2)


@pytest.mark.parametrize("precision", NATIVE)
def test_auto_is_bf16_where_the_device_has_it_and_fp32_elsewhere(
    precision: Precision, scene: Scene
) -> None:
    model = scene.model()
    scene.script.native = NATIVE[precision]
    job = scene.update(model, scene.frozen("cat", "dog"))
    assert scene.job(job).precision is None
    assert scene.run().precision is precision
    version = scene.version(model, 2)
    assert version.recipe == Recipe(precision=precision)
    assert scene.script.tasks[-1].recipe == version.recipe
    assert scene.report(version)["recipe"]["precision"] == precision
    assert scene.job(job).order.recipe.precision is Precision.AUTO  # so that a retry chooses anew
    assert "slow_precision" not in {event.kind for event in scene.events(job)}


@pytest.mark.parametrize(
    ("first", "second"),
    [(Precision.BF16, Precision.FP32), (Precision.FP32, Precision.BF16)],
)
def test_a_later_claim_on_another_machine_keeps_the_arithmetic_of_the_first(
    first: Precision, second: Precision, scene: Scene
) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))
    scene.script.native, scene.script.training = NATIVE[first], die
    assert scene.run().status is JobStatus.QUEUED
    scene.script.native, scene.script.training = NATIVE[second], quietly
    assert scene.run().precision is first
    assert {spec.recipe.precision for spec in scene.script.tasks} == {first}


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_slow_arithmetic_is_obeyed_and_said(precision: Precision, scene: Scene) -> None:
    scene.script.native = NATIVE[Precision.FP32]
    job = scene.update(
        scene.model(), scene.frozen("cat", "dog"), recipe=Recipe(precision=precision)
    )
    assert scene.run().precision is precision
    assert scene.script.tasks[-1].recipe.precision is precision
    (told,) = [event.data for event in scene.events(job) if event.kind == "slow_precision"]
    assert told["precision"] == precision
    assert "'auto'" in told["explanation"]


def test_the_chosen_arithmetic_needs_no_word_where_it_is_native(scene: Scene) -> None:
    recipe = Recipe(precision=Precision.FP32)
    job = scene.update(scene.model(), scene.frozen("cat", "dog"), recipe=recipe)
    scene.run()
    assert "slow_precision" not in {event.kind for event in scene.events(job)}


@pytest.mark.parametrize(
    ("environments", "exact"), [((HOME,), True), ((HOME, AWAY), False), ((HOME, AWAY, HOME), False)]
)
def test_version_and_report_say_where_training_went_and_if_a_repeat_is_exact(
    environments: tuple[dict[str, str], ...], exact: bool, scene: Scene
) -> None:
    model = scene.model()
    root = scene.version(model, 1)
    assert (root.environments, root.exact) == ((), None)  # it was not trained here
    scene.script.environments = environments
    scene.learn(model, scene.frozen("cat", "dog"))
    version = scene.version(model, 2)
    assert version.environment == environments[-1]
    assert version.environments == environments
    assert version.exact is exact
    report = scene.report(version)
    assert (report["environments"], report["exact"]) == (list(environments), exact)
