"""The variants that are measured in turn."""

from typing import NamedTuple


class Variant(NamedTuple):
    """A variant: names of `altered` for the API process and for the inference process."""

    name: str
    api: str = ""
    inference: str = ""


SERVED = Variant("as served")
OF_IMAGES = (
    SERVED,
    Variant("image tower not traced", inference="untraced"),
    Variant("one image by all threads", inference="all_threads"),
    Variant("neither traced nor by one thread", inference="untraced all_threads"),
    Variant("inference called through httpx", api="httpx_client"),
    Variant("decoder not confined", api="unconfined"),
    Variant("decoded in the API process", api="in_process"),
    Variant("no authentication, no limits", api="unchecked"),
    Variant("alias looked up once", api="remembered"),
    Variant("no log, no metrics", api="silent"),
    Variant("the last three together", api="unchecked remembered silent"),
)
OF_MOVES = (SERVED, Variant("each version read again", api="reading"))
