"""Views: crops of an image, always the same, and mirrored only where that is allowed."""

import numpy as np
import pytest
from PIL import Image

from core.images.views import View
from tests.support.factories import digest

# Left to right it grows darker, so a mirrored crop grows brighter.
SLOPE = Image.fromarray(
    np.repeat(np.linspace(255, 0, 100).astype(np.uint8)[None, :, None], 60, axis=0).repeat(3, 2)
)
IMAGES = [digest(f"image {n}") for n in range(200)]


def is_mirrored(view: Image.Image) -> bool:
    row = np.asarray(view)[0, :, 0]
    return bool(row[0] < row[-1])


def test_a_view_is_a_crop_to_nine_tenths_or_more_of_both_sides() -> None:
    views = [View(number=1, mirror=False).of(SLOPE, pixels) for pixels in IMAGES]
    assert {view.width for view in views} == set(range(90, 101))
    assert all(abs(view.width / 100 - view.height / 60) < 0.02 for view in views)
    whole = np.asarray(SLOPE)
    for view in views[:20]:
        left = int(np.argmin(np.abs(whole[0, :, 0].astype(int) - np.asarray(view)[0, 0, 0])))
        assert (whole[0, left : left + view.width] == np.asarray(view)[0]).all()


def test_views_of_an_image_are_always_the_same_and_differ_by_number_and_image() -> None:
    made = {
        (number, pixels): View(number=number, mirror=True).of(SLOPE, pixels).tobytes()
        for number in (1, 2)
        for pixels in IMAGES[:20]
    }
    again = View(number=2, mirror=True).of(SLOPE.copy(), IMAGES[7]).tobytes()
    assert made[2, IMAGES[7]] == again
    assert len(set(made.values())) > 30


@pytest.mark.parametrize(("mirror", "least", "most"), [(False, 0, 0), (True, 70, 130)])
def test_half_of_the_images_are_mirrored_where_they_may_be(
    mirror: bool, least: int, most: int
) -> None:
    views = [View(number=3, mirror=mirror).of(SLOPE, pixels) for pixels in IMAGES]
    assert least <= sum(map(is_mirrored, views)) <= most


def test_an_image_of_one_pixel_has_views() -> None:
    dot = Image.new("RGB", (1, 1), (9, 9, 9))
    assert View(number=1, mirror=True).of(dot, IMAGES[0]).tobytes() == b"\t\t\t"
