"""A root's thresholds for "none of these": measured with an update of it, and read from answers."""

from collections.abc import Sequence

import pytest

from core.errors import NotCalibrated
from core.evaluation.answers import Answers
from core.evaluation.calibrations import Calibrations
from core.evaluation.queries import EvalQuery
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus, Monitor
from core.registry.configure import configure_model
from core.registry.versions import Model
from core.rejection.queries import CalibrationQuery
from core.rejection.rules import Calibration, ListCalibration, SourceCalibration, Statistic
from core.values import Digest
from tests.support.scene import Scene


def test_a_root_has_thresholds_once_an_update_of_it_was_evaluated(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = suited(scene)
    asked = calibrated(scene, monkeypatch)
    root = scene.version(model, 1)
    with pytest.raises(NotCalibrated, match="teach the model"):
        Calibrations(scene.platform).of(root)

    scene.update(model, scene.frozen("cat", "dog"))
    assert scene.run().status is JobStatus.SUCCEEDED

    found = Calibrations(scene.platform).of(root)
    assert [source.name for source in found.sources] == ["sky"]
    assert found == of(asked[root.digest][0])
    scene.update(model, scene.frozen("owl", "elk", offset=20))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert len(asked[root.digest]) == 1  # the answer is kept for the evaluations that follow


def test_a_root_keeps_its_newest_thresholds_whatever_becomes_of_the_suites(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = suited(scene)
    asked = calibrated(scene, monkeypatch)
    scene.update(model, scene.frozen("cat", "dog"))
    scene.run()
    root = scene.version(model, 1)
    thresholds = Calibrations(scene.platform).of(root)

    configure_model(scene.platform, model.name, suites=[], policy=None, reason="a test")
    scene.update(model, scene.frozen("owl", "elk", offset=20))
    assert scene.run().status is JobStatus.SUCCEEDED

    assert Calibrations(scene.platform).of(root) == thresholds
    suited(scene, model, "ground", offset=400)
    scene.order(model, EvaluateOrder(version=3))
    assert scene.run().status is JobStatus.SUCCEEDED
    newest = Calibrations(scene.platform).of(root)
    assert newest == of(asked[root.digest][-1])
    assert [source.name for source in newest.sources] == ["ground"]


def test_models_of_the_same_weights_do_not_share_thresholds(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, other = suited(scene), scene.model("other")
    calibrated(scene, monkeypatch)
    scene.update(model, scene.frozen("cat", "dog"))
    assert scene.run().status is JobStatus.SUCCEEDED
    root, twin = scene.version(model, 1), scene.version(other, 1)
    assert root.digest == twin.digest

    found = Calibrations(scene.platform)
    assert found.of(root).sources
    with pytest.raises(NotCalibrated, match="teach the model"):
        found.of(twin)


def suited(
    scene: Scene, model: Model | None = None, name: str = "sky", *, offset: int = 100
) -> Model:
    """A model whose root is live, with one more suite that has enough images in both parts."""
    model = model or scene.model()
    scene.suite(model, scene.frozen("sun", "moon", each=40, offset=offset), name)
    return model


def calibrated(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> dict[Digest, list[CalibrationQuery]]:
    """Have every version answer calibrations as `of` does; return what each was asked."""
    asked: dict[Digest, list[CalibrationQuery]] = {}
    answer = scene.script.answer

    def answer_calibrated(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        given = answer(version, questions, monitor)
        for question in questions:
            if isinstance(question, CalibrationQuery):
                asked.setdefault(version, []).append(question)
        return [
            of(question) if isinstance(question, CalibrationQuery) else one
            for question, one in zip(questions, given, strict=True)
        ]

    monkeypatch.setattr(scene.script, "answer", answer_calibrated)
    return asked


def of(query: CalibrationQuery) -> Calibration:
    """A calibration on the sources of a query."""
    one = ListCalibration(size=1, statistic=Statistic.MAX_COSINE, auroc=0.8, thresholds=())
    return Calibration(
        sources=tuple(
            SourceCalibration(
                name=source.name,
                classes=source.classes,
                prompt=source.prompt.text,
                lists=(one,),
            )
            for source in query.sources
        )
    )
