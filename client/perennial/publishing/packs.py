"""Folders as what OCI registries hold: a ModelPack of the CNCF, or an image to mount.

A ModelPack (https://github.com/modelpack/model-spec) is an artifact with a layer for each file as
it is. Its layers have the title that `oras pull` goes by beside the path of the specification. An
image has the files in its folder `models`, where KServe looks for them, a layer each; as its layers
differ from the files by the headers of tar alone, no second copy of the weights is written. The
same files give the same digests.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perennial.publishing.bom import BOM
from perennial.publishing.card import CARD
from perennial.publishing.facts import Facts
from perennial.publishing.signing import SIGNATURE
from perennial.terminal.session import sentences

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PACK = "application/vnd.cncf.model"
IMAGE = "application/vnd.oci.image"

PIECE = 1 << 20  # bytes
WEIGHTS = ".safetensors"
DOCUMENTS = (BOM, CARD, SIGNATURE)
MOUNTED = "models"
PLATFORMS = ("amd64", "arm64")  # what nodes are; there is nothing to execute


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Bytes, or the bytes of files, with what the manifest says of them."""

    media_type: str
    parts: Sequence[bytes | Path]
    digest: str
    size: int
    annotations: Mapping[str, str]

    @property
    def descriptor(self) -> dict[str, Any]:
        """Its entry in a manifest."""
        found = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**found, "annotations": dict(self.annotations)} if self.annotations else found

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in pieces, as often as it is asked."""
        return _pieces(self.parts)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Blobs to send, and then manifests, of which the last gets the tag."""

    blobs: Sequence[Blob]
    manifests: Sequence[Blob]


def model_pack(facts: Facts, folder: Path) -> Pack:
    """Return a ModelPack with the files of a folder."""
    layers = [_raw(path) for path in sorted(folder.iterdir())]
    config = _json(f"{PACK}.config.v1+json", _described(facts, layers))
    manifest = _manifest(facts, config, layers, artifactType=f"{PACK}.manifest.v1+json")
    return Pack(blobs=[config, *layers], manifests=[manifest])


def model_image(facts: Facts, folder: Path) -> Pack:
    """Return an image with the files of a folder in `/models`, for each platform."""
    layers = [_packed(path) for path in sorted(folder.iterdir())]
    configs = [_json(f"{IMAGE}.config.v1+json", _of_image(one, layers)) for one in PLATFORMS]
    manifests = [_manifest(facts, config, layers) for config in configs]
    listed = [
        {**manifest.descriptor, "platform": {"os": "linux", "architecture": platform}}
        for manifest, platform in zip(manifests, PLATFORMS, strict=True)
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
    return Pack(blobs=[*configs, *layers], manifests=[*manifests, _json(INDEX, index)])


def _raw(path: Path) -> Blob:
    kind = "weight" if path.suffix == WEIGHTS else "weight.config"
    kind = "doc" if path.name in DOCUMENTS else kind
    names = ("org.cncf.model.filepath", "org.opencontainers.image.title")
    return _blob(f"{PACK}.{kind}.v1.raw", [path], dict.fromkeys(names, path.name))


def _packed(path: Path) -> Blob:
    """Return a tar with a folder and a file in it."""
    folder, file = tarfile.TarInfo(MOUNTED), tarfile.TarInfo(f"{MOUNTED}/{path.name}")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    file.size = path.stat().st_size
    rest = bytes(-file.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)  # two blocks end a tar
    return _blob(f"{IMAGE}.layer.v1.tar", [folder.tobuf(), file.tobuf(), path, rest])


def _described(facts: Facts, layers: Sequence[Blob]) -> dict[str, Any]:
    """Return the configuration of a ModelPack."""
    version = facts.version
    descriptor = {
        "name": version["model"],
        "version": str(version["version"]),
        "revision": version["digest"],
        "createdAt": version["created_at"],
        "family": "clip",
    }
    if facts.report:
        descriptor["description"] = " ".join(sentences(facts.report))
    return {
        "descriptor": {**descriptor, **({"licenses": [facts.spdx]} if facts.spdx else {})},
        "config": {
            "architecture": "clip",
            "format": WEIGHTS.removeprefix("."),
            "precision": "float32",  # of tensors, whatever they are computed in
            "capabilities": {"inputTypes": ["image", "text"], "outputTypes": ["embedding"]},
        },
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }


def _of_image(platform: str, layers: Sequence[Blob]) -> dict[str, Any]:
    """Return the configuration of an image that nothing runs."""
    diffs = [layer.digest for layer in layers]
    rootfs = {"type": "layers", "diff_ids": diffs}
    return {"architecture": platform, "os": "linux", "config": {}, "rootfs": rootfs}


def _manifest(facts: Facts, config: Blob, layers: Sequence[Blob], **more: str) -> Blob:
    version = facts.version
    says = {
        "title": facts.name,
        "version": str(version["version"]),
        "revision": version["digest"],
        "created": version["created_at"],
        "licenses": facts.spdx or facts.licence,
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        **more,
        "config": config.descriptor,
        "layers": [layer.descriptor for layer in layers],
        "annotations": {f"org.opencontainers.image.{name}": text for name, text in says.items()},
    }
    return _json(MANIFEST, document)


def _json(media_type: str, document: Mapping[str, Any]) -> Blob:
    return _blob(media_type, [json.dumps(document).encode()])


def _blob(
    media_type: str, parts: Sequence[bytes | Path], annotations: Mapping[str, str] | None = None
) -> Blob:
    hashed, size = hashlib.sha256(), 0
    for piece in _pieces(parts):
        hashed.update(piece)
        size += len(piece)
    return Blob(
        media_type=media_type,
        parts=parts,
        digest=f"sha256:{hashed.hexdigest()}",
        size=size,
        annotations=annotations or {},
    )


def _pieces(parts: Sequence[bytes | Path]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        with part.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece
