"""Engines, which compute a version's features, and when these are exact.

An engine other than torch runs the *graphs* of an architecture: its two towers as ONNX models that
name the tensors of a version where the weights belong. All versions of an architecture share them.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from core.registry.versions import Precision as Precision  # noqa: PLC0414
from core.registry.versions import precision_of as precision_of  # noqa: PLC0414
from core.values import Digest, Json, canonical_json, sha256


class Engine(StrEnum):
    """A library that computes a version's features."""

    TORCH = "torch"
    ONNX = "onnx"  # ONNX Runtime
    OPENVINO = "openvino"  # where it is installed


class Tower(StrEnum):
    """One of a version's two towers."""

    IMAGE = "image"
    TEXT = "text"


# Names in graphs.

INPUTS: Mapping[Tower, str] = {Tower.IMAGE: "pixels", Tower.TEXT: "tokens"}
FEATURES = "features"
WEIGHTS = "weights"  # where graphs say that tensors are; there is no such file

MADE_BY = 1  # the revision of the code that makes graphs: raise it when it makes others


def architecture_of(config: Json) -> Digest:
    """Return what versions have in common whose graphs are the same."""
    parts = {name: config.get(name) for name in ("model_cfg", "preprocess_cfg")}
    return sha256(canonical_json({**parts, "made_by": MADE_BY}))


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One tower of an architecture."""

    onnx: bytes  # a serialised model, whose weights are references
    tensors: tuple[str, ...]  # that it refers to, as a version names them
    croppable: bool = True  # whether sentences may end after the longest one's end token


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """Both towers of an architecture."""

    architecture: Digest
    towers: Mapping[Tower, Graph]

    def to_bytes(self) -> bytes:
        """Return the artifact of the graphs."""
        towers = {
            tower.value: {
                "onnx": base64.b64encode(zlib.compress(graph.onnx, 9)).decode(),
                "tensors": [*graph.tensors],
                "croppable": graph.croppable,
            }
            for tower, graph in self.towers.items()
        }
        return canonical_json({"architecture": self.architecture, "towers": towers})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the graphs that `to_bytes` wrote."""
        value: dict[str, Any] = json.loads(data)
        towers = {
            Tower(name): Graph(
                onnx=zlib.decompress(base64.b64decode(one["onnx"])),
                tensors=tuple(one["tensors"]),
                croppable=one["croppable"],
            )
            for name, one in value["towers"].items()
        }
        return cls(architecture=Digest(value["architecture"]), towers=towers)


# What the worker has found about a version.

LEAST_COSINE = 1 - 1e-6  # of an exact engine's features with torch's in fp32


@dataclass(frozen=True, kw_only=True)
class EngineCheck:
    """The comparison of a version's features by an engine with those by torch.

    Then they form one class: whichever engine scored the version, any of them may serve it.
    """

    weights: Digest
    architecture: Digest
    graphs: Digest | None  # the artifact; None if the architecture has no graphs
    least_cosine: float | None  # over the inputs that were compared, and both towers
    problem: str | None  # why only torch serves the version
    checked_at: datetime

    @property
    def exact(self) -> bool:
        """True if the engine may serve the version."""
        return self.graphs is not None and self.problem is None
