"""Reports of blames: which images of an update cost a class its accuracy. Fractions of 1."""

from typing import Literal, TypedDict

Grouping = Literal["upload", "class", "random"]

# What a blame asks. Without a class: each that has fallen since the version's parent.
BlameOrder = TypedDict(
    "BlameOrder",
    {
        "version": int,
        "class": str | None,
        "by": Grouping,
        "groups": int,  # at most
        "suite": str | None,
    },
)


class ImageGroup(TypedDict):
    """Training images of an update that were left out together."""

    group: int
    name: str
    images: int
    classes: dict[str, int]  # number of images
    pixels: list[str]
    digest: str  # of what was trained without the group; no version has it


class GroupChange(TypedDict):
    """The change of a class without a group."""

    group: int
    name: str
    right_before: int  # by the version itself
    right: int  # without the group
    gained: int
    lost: int
    difference: float
    lower: float
    upper: float
    clear: bool  # the whole interval is above zero


# A class, and its change without each group; the group to blame most comes first.
BlamedClass = TypedDict(
    "BlamedClass",
    {
        "class": str,
        "images": int,  # test images
        "right": int,  # by the version
        "summary": str,
        "groups": list[GroupChange],
    },
)


class BlameReport(TypedDict):
    """The groups of images that an update was trained without, and what each of them changed."""

    model: str
    version: int
    digest: str
    parent: int
    by: Grouping
    asked: list[str]  # suites, and holdouts as "version 2"
    alpha: float
    exact: bool  # all groups were trained in the version's own environment
    groups: list[ImageGroup]
    classes: list[BlamedClass]
