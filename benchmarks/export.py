"""Measure how equal to their version, how large and how fast exports are: `make bench-export`.

The bundled model and a ViT-B/32 of random weights are exported in each format that has a place for
them, and loaded as their users do. Features of the demo's emoji are compared with the version's.
Then torch and ONNX Runtime encode the same prepared images and texts by turns in one process;
`images_of_torch` and `texts_of_torch` are the export's throughput as a share of torch's, the median
over the turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import open_clip
import torch
from torch import Tensor

from benchmarks.output import NullMonitor, publish
from core.artifacts.local import LocalArtifacts
from core.clip.bases import BUNDLED, read_folder
from core.clip.inputs import read_image
from core.clip.model import ClipModel, empty_network
from core.clip.model import publish as publish_weights
from core.exporting.exporter import VersionExporter
from core.exporting.onnx import IMAGE_FILE, TEXT_FILE, open_session
from core.exports.exporter import Samples
from core.registry.architecture import huggingface_obstacle
from core.registry.exports import ExportFormat
from core.settings import thread_count
from core.values import ignore_progress
from demo.images import named

CPU = torch.device("cpu")

VIT = "ViT-B-32"

ONNX = (ExportFormat.ONNX, ExportFormat.ONNX_INT8)

# The service writes the folder of open_clip itself.
WRITTEN = [one for one in ExportFormat if not one.is_open_clip_folder]


def bundled() -> ClipModel:
    """Return the bundled model."""
    config, network = read_folder(BUNDLED)
    return ClipModel.build(config, network.state_dict(), CPU)


def vit() -> ClipModel:
    """Return ViT-B/32 with random weights."""
    config = {"model_cfg": open_clip.get_model_config(VIT), "preprocess_cfg": {}}
    torch.manual_seed(0)
    return ClipModel.build(config, empty_network(config).state_dict(), CPU)


def measure(
    name: str, model: ClipModel, artifacts: LocalArtifacts, given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield a row for each format."""
    model.freeze()
    state = model.network.state_dict()
    weights = publish_weights(model.config, state, artifacts, ignore_progress)
    pack = named("twemoji")[: given.images]
    images = tuple(artifacts.put(image.data) for image in pack)
    texts = tuple(dict.fromkeys(f"a photo of a {image.text}" for image in pack))
    samples = Samples(images=images, texts=texts)
    exporter = VersionExporter(artifacts, threads=torch.get_num_threads())
    prepared = [model.preprocess.evaluation_pixels(read_image(image.data)) for image in pack]
    pixels = torch.stack(prepared[: given.batch])
    tokens = model.tokenise((texts * given.batch)[: given.batch])
    for export_format in WRITTEN:
        if export_format is ExportFormat.HUGGINGFACE and huggingface_obstacle(model.config):
            continue
        with tempfile.TemporaryDirectory() as path:
            folder = Path(path)
            exporter.write(weights.digest, export_format, folder, NullMonitor())
            check = exporter.check(weights.digest, export_format, folder, samples, NullMonitor())
            row = {
                "model": name,
                "format": export_format.value,
                "mb": sum(file.stat().st_size for file in folder.iterdir()) / 1e6,
                "cosine_images": check["least_cosine_images"],
                "cosine_whole": check["least_cosine_whole_images"],
                "cosine_texts": check["least_cosine_texts"],
            }
            if export_format in ONNX:
                row |= _speed(model, folder, pixels, tokens, given)
            yield row


@torch.inference_mode()
def _speed(
    model: ClipModel, folder: Path, pixels: Tensor, tokens: Tensor, given: argparse.Namespace
) -> dict[str, Any]:
    threads = torch.get_num_threads()
    image, text = (open_session(folder / file, threads) for file in (IMAGE_FILE, TEXT_FILE))
    inputs = model.preprocess.normalise(pixels)
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "images": (lambda: model.encode_images(pixels), lambda: image(inputs)),
        "texts": (lambda: model.encode_tokens(tokens), lambda: text(tokens)),
    }
    found = {}
    for what, (ours, theirs) in pairs.items():
        ours(), theirs()
        turns = [(_seconds(ours, clock), _seconds(theirs, clock)) for _ in range(given.repeats)]
        shares = [own / other for own, other in turns]
        found[f"torch_{what}_per_s"] = given.batch / median(own for own, _ in turns)
        found[f"{what}_of_torch"] = median(shares)
        found[f"{what}_range"] = f"{min(shares):.3g}-{max(shares):.3g}"
    return found


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began


MODELS = {"bundled": bundled, VIT: vit}


def main() -> None:
    """Measure the chosen models and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.export", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, default=64, help="images to compare")
    parser.add_argument("--batch", type=int, default=32, help="batch size of the timed part")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each row")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    given = parser.parse_args()
    torch.set_num_threads(thread_count(given.threads))
    rows: list[dict[str, Any]] = []
    for name in given.models:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(name, MODELS[name](), LocalArtifacts(Path(folder)), given):
                print(row, flush=True)
                rows.append(row)
    columns = dict.fromkeys(column for row in rows for column in row)
    shown = [{column: row.get(column, "") for column in columns} for row in rows]
    facts = {"threads": torch.get_num_threads(), "batch": given.batch, "clock": given.clock}
    publish("export", shown, **facts)


if __name__ == "__main__":
    main()
