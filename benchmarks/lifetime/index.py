"""An index of image vectors, compared with the vectors of later versions."""

import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core.clip.bases.pretrained_folder import read_folder
from core.clip.images import read_image
from core.clip.model import ClipModel
from core.evaluation.neighbours import neighbours_kept
from perennial import Client

_BATCH = 128


class ImageIndex:
    """The vectors of some images by a model's version 1."""

    def __init__(self, client: Client, model: str, images: Sequence[bytes]) -> None:
        self._client = client
        self._model = model
        self._images = images
        self._vectors = self._encode(1)

    def neighbours_kept(self, version: int) -> float:
        """Return the share of each image's ten nearest neighbours that are still the same."""
        return neighbours_kept(self._vectors, self._encode(version))

    @torch.inference_mode()
    def _encode(self, version: int) -> Tensor:
        model = self._downloaded(version)
        rows = [model.preprocess.evaluation_pixels(read_image(image)) for image in self._images]
        parts = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
        return torch.cat([model.encode_images(torch.stack(part)) for part in parts])

    def _downloaded(self, version: int) -> ClipModel:
        with tempfile.TemporaryDirectory() as place:
            folder, tar = Path(place), Path(place) / "version.tar"
            self._client.versions.download(self._model, version, to=tar)
            with tarfile.open(tar) as opened:
                opened.extractall(folder, filter="data")
            (config,) = folder.rglob("open_clip_config.json")
            settings, network = read_folder(config.parent)
        return ClipModel.build(settings, network.state_dict(), torch.device("cpu"))
