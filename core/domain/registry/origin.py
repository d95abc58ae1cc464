"""The origin of a version that was imported from a bundle."""

from dataclasses import dataclass

from core.domain.values import Digest


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of an imported version, as its signed bundle states it."""

    model: str  # its name there
    version: int  # its number there
    signed_by: str  # the name of the trusted key
    key_id: str
    bundle: Digest  # of the bundle's file
    record: Digest  # artifact: its line, suites, policy and reports there
