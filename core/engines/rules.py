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

from core.registry.text_towers import TEXT_CONFIG
from core.registry.versions import ServingPrecision
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
    foreign = {TEXT_CONFIG: config[TEXT_CONFIG]} if TEXT_CONFIG in config else {}
    return sha256(canonical_json({**parts, **foreign, "made_by": MADE_BY}))


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


# What workers have found about a version.

LEAST_COSINE = 1 - 1e-6  # of an exact engine's features with torch's in fp32


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of an engine's features of a version with those by torch in fp32."""

    release: str  # of the engine's library
    cosine: float | None  # the least, of both towers; None: it cannot run the version


@dataclass(frozen=True, kw_only=True)
class EngineCheck:
    """The engines that may serve a version in the place of torch.

    In fp32 these are the exact ones. They and torch form one class: whichever has scored the
    version, any may serve it. In another precision, the one engine that has it scores and serves.
    """

    weights: Digest
    architecture: Digest
    precision: ServingPrecision
    graphs: Digest | None  # the artifact; None if the architecture has no graphs
    engines: Mapping[Engine, Comparison]  # that a worker had
    problem: str | None  # why none of them serves the version
    checked_at: datetime

    @property
    def serving(self) -> tuple[Engine, ...]:
        """The engines that may serve the version, besides torch in fp32."""
        if self.graphs is None:
            return ()
        return tuple(name for name, found in self.engines.items() if self.allows(found.cosine))

    @property
    def cosines(self) -> dict[Engine, float | None]:
        """The least cosine of each engine's features with those by torch in fp32."""
        return {engine: found.cosine for engine, found in self.engines.items()}

    def allows(self, cosine: float | None) -> bool:
        """Return whether an engine may serve the version that has this least cosine.

        What another precision than fp32 may cost is for the gate to judge.
        """
        if cosine is None:
            return False
        return self.precision is not ServingPrecision.FP32 or cosine >= LEAST_COSINE
