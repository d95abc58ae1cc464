"""The pictures that the documentation shows, of the model that the demo makes."""

from dataclasses import dataclass
from typing import Literal

WIDE, NARROW = 1200, 390
MOST_BYTES = 150_000  # of a picture
LINE = "/ui/models/demo"


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture of a page, or of one part of it."""

    file: str  # below docs
    path: str
    heading: str  # with which the page begins
    part: str = ""  # a selector; "": the page from its top
    height: int = 800
    width: int = WIDE
    pixels: int = 2  # of the picture, for each of the page
    scheme: Literal["light", "dark"] = "light"


CHANGES = f"{LINE}/changes?before=2&now=4"
CHANGED = "What changed from version 2 to 4"
INTERVALS = "section:has(#intervals) .wide svg"
SHOTS = (
    Shot(file="images/overview.png", path="/ui", heading="Models", height=420),
    Shot(file="images/model.png", path=LINE, heading="demo", height=760),
    Shot(file="images/model-dark.png", path=LINE, heading="demo", height=760, scheme="dark"),
    Shot(
        file="images/model-phone.png",
        path=LINE,
        heading="demo",
        width=NARROW,
        height=844,
        scheme="dark",
    ),
    Shot(file="images/changes.png", path=CHANGES, heading=CHANGED, height=860, pixels=1),
    Shot(
        file="images/promotion.png",
        path=f"{LINE}/aliases/production/promotion?version=3",
        heading="Promote version 3",
        height=620,
    ),
    Shot(
        file="images/first-steps-phone.png",
        path="/ui/first-steps",
        heading="First steps",
        width=NARROW,
        height=844,
    ),
    Shot(
        file="report.png",
        path=f"{LINE}/versions/4/report",
        heading="demo, version 4",
        width=960,
        height=1700,
        pixels=1,
    ),
    Shot(
        file="images/forgetting-fine-tuned.png",
        path=f"{LINE}/versions/4",
        heading="Version 4",
        part=INTERVALS,
    ),
    Shot(
        file="images/forgetting-distilled.png",
        path=f"{LINE}/versions/3",
        heading="Version 3",
        part=INTERVALS,
    ),
    Shot(
        file="images/forgetting-images.png",
        path=CHANGES,
        heading=CHANGED,
        part="section:has(#lost) ul",
        pixels=1,
    ),
    Shot(
        file="images/forgetting-confusions.png",
        path=CHANGES,
        heading=CHANGED,
        part="h3:text-is('version 2') + .wide svg",
    ),
    Shot(
        file="images/forgetting-line.png",
        path=LINE,
        heading="demo",
        part="section:has(#line) figure svg",
    ),
)
