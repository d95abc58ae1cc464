"""A LitServe server that embeds images by ONNX Runtime, transformed as an open_clip folder says.

It runs in LitServe's environment: `litserve_server.py FOLDER IMAGE_ONNX PORT THREADS BATCH`. Each
worker has one thread, which is faster than one worker with all of them: a worker also decodes its
images.
"""

import base64
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import litserve
import onnxruntime
import open_clip
import torch
from PIL import Image

BATCH_TIMEOUT_S = 0.005


class Embedder(litserve.LitAPI):  # type: ignore[misc]
    """Takes and answers what OpenAI's clients send and read, one image at a time."""

    def __init__(self, folder: str, tower: str, batch: int) -> None:
        super().__init__(
            max_batch_size=batch, batch_timeout=BATCH_TIMEOUT_S, api_path="/v1/embeddings"
        )
        self._name = f"local-dir:{folder}"
        self._tower = tower

    def setup(self, device: str) -> None:
        """Load the model in a worker."""
        torch.set_num_threads(1)
        _, _, self._transform = open_clip.create_model_and_transforms(self._name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self._tower, options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: Mapping[str, Any]) -> torch.Tensor:
        """Return the pixels of the image in a data URL."""
        data = base64.b64decode(request["input"][0].partition(",")[2])
        pixels: torch.Tensor = self._transform(Image.open(io.BytesIO(data)))
        return pixels

    def batch(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join the images that wait."""
        return torch.stack(list(inputs))

    def predict(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed a batch."""
        (vectors,) = self._session.run(None, {"pixel_values": pixels.numpy()})
        return torch.from_numpy(vectors)

    def unbatch(self, output: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the vectors of the images."""
        return list(output)

    def encode_response(self, output: torch.Tensor) -> dict[str, Any]:
        """Return the answer to one request."""
        return {"data": [{"embedding": output.tolist()}]}


if __name__ == "__main__":
    folder, tower, port, threads, batch = sys.argv[1:]
    server = litserve.LitServer(
        Embedder(folder, tower, int(batch)), accelerator="cpu", workers_per_device=int(threads)
    )
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")
