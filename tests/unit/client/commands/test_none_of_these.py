"""`perennial classify --none-of-these`: what is asked, and what is told."""

from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from perennial.terminal.session import KEY, URL
from tests.support.api.image_files import picture
from tests.support.servers.scripted import scripted
from tests.unit.client.commands.conftest import Run, rows

THRESHOLD = {
    "false_rejection_rate": 0.05,
    "statistic": "margin",
    "threshold": 0.3,
    "auroc": 0.8,
    "source": "learned classes",
    "list_size": 2,
    "false_rejection": {"rate": 0.04, "lower": 0.01, "upper": 0.1, "images": 90},
    "false_acceptance": {"rate": 0.3, "lower": 0.2, "upper": 0.4, "images": 90},
}


@pytest.mark.parametrize(
    ("words", "rate", "covered"), [((), b"0.05", True), (("0.1",), b"0.1", False)]
)
def test_images_that_show_none_of_the_classes_are_told_with_the_error_rates(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    rate: bytes,
    covered: bool,
) -> None:
    predictions = [{"class": "bag", "probability": 0.5}]
    data = [
        {"file": name, "predictions": predictions, "none_of_these": none, "score": 0.2}
        for name, none in (("a.png", True), ("b.png", False))
    ]
    for one in data:
        (tmp_path / str(one["file"])).write_bytes(picture(1))
    told = THRESHOLD | {"covered": covered}
    reply = {"model": "demo", "version": 2, "digest": "d", "none_of_these": told, "data": data}
    with scripted() as script:
        script.replies = [JSONResponse(reply)]
        monkeypatch.setenv(URL, script.url)
        monkeypatch.setenv(KEY, "pk_any")
        images = [tmp_path / str(one["file"]) for one in data]
        ended = run("classify", "demo", *images, "--none-of-these", *words)
    assert ended.code == 0, ended.err
    assert rows(ended.out, 3) == [
        [str(images[0]), "none of these", ""],
        [str(images[1]), "bag", "50.0"],
    ]
    assert "the threshold rejects 4.0 % of those of a listed class" in ended.err
    assert "accepts 30.0 % of the others" in ended.err
    assert ("another prompt" in ended.err) is not covered
    assert b'name="none_of_these"\r\n\r\n' + rate + b"\r\n" in script.bodies[0]
