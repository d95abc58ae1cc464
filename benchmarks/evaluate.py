"""Measure how fast a version is evaluated: `make bench-evaluate`.

The evaluator and a bare open_clip loop over the same stored images run in turn in one process, in
fp32. The loop has its files in memory; the evaluator reads them from the store, verifies every
digest and reports its progress. Both classify every image, and their answers are compared.
`of_bare` is the evaluator's throughput as a share of the loop's when the loop, too, encodes the
class prompts once; `of_images_alone` when it does not.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transform import image_transform_v2
from PIL import Image

from benchmarks.output import NullMonitor, entry_of, publish, stored_pictures
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.bootstrap import decoder
from core.clip.bases import BUNDLED, read_folder
from core.clip.model import ClipModel, empty_network
from core.datasets.manifests import ManifestEntry
from core.evaluation.answers import ClassAnswers
from core.evaluation.queries import ClassQuery
from core.recipes.fields import DEFAULT_PROMPT
from core.scoring.evaluator import VersionEvaluator
from core.settings import Settings, thread_count
from demo.images import PackImage, named

CPU = torch.device("cpu")

Clock = Callable[[], float]  # seconds


def emoji(artifacts: Artifacts, images: int) -> tuple[ClipModel, ClassQuery]:
    """Return the bundled model and emoji of the demo's pack, about three images per class."""
    return _bundled(artifacts, named("twemoji")[:images])


def products(artifacts: Artifacts, images: int) -> tuple[ClipModel, ClassQuery]:
    """Return the bundled model and the products of the demo's pack, ten classes."""
    return _bundled(artifacts, named("fashion_mnist")[:images])


def _bundled(artifacts: Artifacts, pack: Sequence[PackImage]) -> tuple[ClipModel, ClassQuery]:
    config, network = read_folder(BUNDLED)
    sandbox = decoder(Settings())
    try:
        stored = [sandbox.decode(image.data) for image in pack]
    finally:
        sandbox.close()
    entries = [
        entry_of(row.pixels, artifacts.put(row.data), image.text)
        for image, row in zip(pack, stored, strict=True)
    ]
    return ClipModel.build(config, network.state_dict(), CPU), _query(entries)


def vit(artifacts: Artifacts, images: int) -> tuple[ClipModel, ClassQuery]:
    """Return ViT-B/32 with random weights, and synthetic pictures of 256 pixels."""
    settings = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    torch.manual_seed(0)
    model = ClipModel.build(settings, empty_network(settings).state_dict(), CPU)
    names = [f"kind {number % 50}" for number in range(images)]
    return model, _query(stored_pictures(artifacts, names, side=224))


def _query(entries: Sequence[ManifestEntry]) -> ClassQuery:
    unique = {entry.pixels: entry for entry in entries}
    classes = tuple(sorted({entry.class_name for entry in entries}))
    return ClassQuery(entries=tuple(unique.values()), classes=classes, prompt=DEFAULT_PROMPT)


class BareLoop:
    """A loop as one would write it with open_clip alone."""

    def __init__(
        self, model: ClipModel, query: ClassQuery, artifacts: Artifacts, batch: int
    ) -> None:
        self._network: Any = model.network
        self._transform = image_transform_v2(model.preprocess.settings, is_train=False)
        self._files = [artifacts.get(entry.artifact) for entry in query.entries]
        self._batch = batch
        prompts = list(query.prompt.fill_all(query.classes))
        self._tokens = model.tokenise(prompts)
        self.read_classes()

    @torch.inference_mode()
    def read_classes(self) -> None:
        """Encode the class prompts."""
        blocks = [
            self._network.encode_text(part) for part in torch.split(self._tokens, self._batch)
        ]
        self._classes = F.normalize(torch.cat(blocks), dim=-1)

    @torch.inference_mode()
    def predict(self) -> tuple[int, ...]:
        """Return the index of each image's class."""
        predicted: list[int] = []
        for start in range(0, len(self._files), self._batch):
            files = self._files[start : start + self._batch]
            pixels = torch.stack([self._transform(Image.open(io.BytesIO(file))) for file in files])
            features = F.normalize(self._network.encode_image(pixels), dim=-1)
            predicted += (features @ self._classes.T).argmax(dim=1).tolist()
        return tuple(predicted)


def measure(
    model: ClipModel,
    query: ClassQuery,
    artifacts: Artifacts,
    *,
    batch: int,
    repeats: int,
    clock: Clock,
) -> dict[str, Any]:
    """Measure both in turn; return images per second, and the ratio's median and range."""
    model.freeze()
    loop = BareLoop(model, query, artifacts, batch)
    evaluator = VersionEvaluator(artifacts, device=CPU, batch=batch)

    def ours() -> tuple[int, ...]:
        (answers,) = evaluator.ask(model, [query], NullMonitor())
        assert isinstance(answers, ClassAnswers)
        return answers.predicted

    same = sum(a == b for a, b in zip(ours(), loop.predict(), strict=True))
    turns = [
        (_seconds(ours, clock), _seconds(loop.predict, clock), _seconds(loop.read_classes, clock))
        for _ in range(repeats)
    ]
    count = len(query.entries)
    shares = [(bare + texts) / own for own, bare, texts in turns]
    return {
        "images": count,
        "classes": len(query.classes),
        "same_answers": same / count,
        "ours_per_s": count / median(own for own, _, _ in turns),
        "bare_per_s": count / median(bare + texts for _, bare, texts in turns),
        "of_bare": median(shares),
        "range": f"{min(shares):.3g}-{max(shares):.3g}",
        "of_images_alone": median(bare / own for own, bare, _ in turns),
    }


def _seconds(work: Callable[[], object], clock: Clock) -> float:
    began = clock()
    work()
    return clock() - began


ROWS = {"emoji": emoji, "products": products, "vit": vit}


def main() -> None:
    """Measure the chosen rows and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluate", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--images", type=int, nargs="+", default=[1900, 3500, 256], help="images of each row"
    )
    parser.add_argument("--batch", type=int, default=128, help="batch size")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each row")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="wall time or CPU time of the process",
    )
    given = parser.parse_args()
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    torch.set_num_threads(thread_count(given.threads))
    rows = []
    for name, images in zip(given.rows, given.images, strict=False):
        with tempfile.TemporaryDirectory() as folder:
            artifacts = LocalArtifacts(Path(folder))
            model, query = ROWS[name](artifacts, images)
            measured = measure(
                model, query, artifacts, batch=given.batch, repeats=given.repeats, clock=clock
            )
            rows.append({"row": name, **measured})
            print(rows[-1], flush=True)
    publish("evaluate", rows, threads=torch.get_num_threads(), batch=given.batch, clock=given.clock)


if __name__ == "__main__":
    main()
