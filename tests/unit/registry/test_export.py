"""An export whose features are not the version's is refused."""

import pytest

from core.errors import ExportDiffers
from core.registry.exports import ExportFormat, require_equal


def cosines(images: float, texts: float) -> dict[str, float]:
    return {"least_cosine_images": images, "least_cosine_texts": texts}


@pytest.mark.parametrize("export_format", ExportFormat)
def test_cosines_that_suffice_do(export_format: ExportFormat) -> None:
    bound = export_format.least_cosine
    require_equal(export_format, cosines(bound, bound))


@pytest.mark.parametrize("export_format", ExportFormat)
@pytest.mark.parametrize("what", ["images", "texts"])
def test_a_smaller_one_is_named(export_format: ExportFormat, what: str) -> None:
    bound = export_format.least_cosine
    check = cosines(1.0, 1.0) | {f"least_cosine_{what}": bound - 1e-6}
    with pytest.raises(ExportDiffers, match=f"for {what}.*{bound} is required") as refused:
        require_equal(export_format, check)
    assert refused.value.facts == check


def test_rounded_weights_may_differ_more_and_others_may_not() -> None:
    assert {each.least_cosine for each in ExportFormat if each is not ExportFormat.ONNX_INT8} == {
        0.9999
    }
    assert ExportFormat.ONNX_INT8.least_cosine < 0.9999
