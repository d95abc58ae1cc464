"""Classify with "none of these": which images are told to show no class, and what is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest

from core.gate.rules import Verdict
from core.registry.versions import Model
from core.rejection.rules import (
    LEARNED,
    Calibration,
    ErrorRate,
    ListCalibration,
    SourceCalibration,
    Statistic,
    Threshold,
)
from tests.support.api import image_files as pictures
from tests.support.api.image_files import image_part
from tests.support.api.oracle import Oracle
from tests.support.api.seeds import a_candidate
from tests.support.api.service import EMBEDDED, Service, code_of
from tests.support.evaluation.evaluations import learned, report_of, second_update

pytestmark = [EMBEDDED, pytest.mark.usefixtures("calibrated")]

RATE = ErrorRate(rate=0.04, lower=0.01, upper=0.1, images=90)

ACCEPTED = ErrorRate(rate=0.3, lower=0.2, upper=0.4, images=90)


def lists(size: int, statistic: Statistic, threshold: float) -> ListCalibration:
    chosen = Threshold(
        rate=0.05, threshold=threshold, false_rejection=RATE, false_acceptance=ACCEPTED
    )
    return ListCalibration(size=size, statistic=statistic, auroc=0.8, thresholds=(chosen,))


CALIBRATION = Calibration(
    sources=(
        SourceCalibration(
            name=LEARNED,
            classes=("boot", "bag", "coat"),
            prompt="a photo of a {name}.",
            lists=(lists(1, Statistic.MAX_COSINE, 0.45), lists(2, Statistic.MARGIN, 0.3)),
        ),
    )
)


@pytest.fixture
def calibrated(service: Service, model: Model) -> Model:
    """The model `demo`, whose version 3 is calibrated, and version 4 too, with too few images."""
    for rejection in (CALIBRATION, Calibration()):
        report = replace(report_of(second_update(), learned), rejection=rejection)
        a_candidate(
            service.platform,
            model,
            verdict=Verdict.PASSED,
            report=report,
            teaches=("boot", "bag", "coat"),
        )
    a_candidate(service.platform, model, teaches=("boot", "bag"))
    return model


def classify(service: Service, version: int, **fields: str) -> Any:
    files = [image_part(1), ("images", ("bad.tiff", pictures.tiff()))]
    return service.client.post(f"/v1/models/demo:{version}/classify", data=fields, files=files)


def test_images_below_the_threshold_are_told_to_show_none(service: Service, oracle: Oracle) -> None:
    two = {"classes": '["boot", "Bag"]', "none_of_these": "0.05"}
    for cosines, none in (([0.5, 0.25], True), ([0.5, 0.125], False), ([0.5, 0.2], False)):
        oracle.cosines = cosines
        answer = classify(service, 3, **two)
        assert answer.status_code == 200, answer.text
        image, refused = answer.json()["data"]
        assert (image["none_of_these"], image["score"]) == (none, cosines[0] - cosines[1])
        assert len(image["predictions"]) == 2  # they stand there all the same
        assert (refused["none_of_these"], refused["score"]) == (None, None)
        assert refused["error"]["code"] == "unsupported_image"
    assert answer.json()["none_of_these"] == {
        "false_rejection_rate": 0.05,
        "statistic": "margin",
        "threshold": 0.3,
        "auroc": 0.8,
        "source": "learned classes",
        "covered": True,
        "list_size": 2,
        "false_rejection": {"rate": 0.04, "lower": 0.01, "upper": 0.1, "images": 90},
        "false_acceptance": {"rate": 0.3, "lower": 0.2, "upper": 0.4, "images": 90},
    }


def test_a_version_without_thresholds_says_what_to_do(service: Service, oracle: Oracle) -> None:
    reasons = {1: "a root", 4: "too few images", 5: "not been evaluated"}
    for version, why in reasons.items():
        answer = classify(service, version, classes='["boot", "bag"]', none_of_these="0.05")
        assert code_of(answer) == (409, "not_calibrated")
        assert why in answer.json()["detail"]
    assert oracle.requests == []


def test_rates_and_lists_without_a_threshold_are_refused(service: Service, oracle: Oracle) -> None:
    refused = [
        (rate, 2, "/none_of_these") for rate in ("on", "0", "1", "-0.1", "nan", "1e9", "0.2")
    ]
    for rate, classes, pointer in (*refused, ("0.05", 5, "/classes")):
        names = json.dumps([f"class {number}" for number in range(classes)])
        answer = classify(service, 3, classes=names, none_of_these=rate)
        assert code_of(answer) == (422, "field_invalid"), rate
        assert [line["pointer"] for line in answer.json()["errors"]] == [pointer]
    assert oracle.requests == []
