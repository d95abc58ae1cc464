"""Take every architecture that open_clip names as far as it goes, without weights or network.

1. Its own config is built on torch's meta device, which has shapes alone, and run on fake tensors:
   both towers must return features of one width.
2. Its config with less depth and width, random weights and a tokenizer trained on the spot goes
   from a folder through import, update, engines and exports. Of timm, small towers stand for large
   ones. Architectures that are equal then go together.

It prints a line for each architecture and what stopped it, and ends with the numbers that
docs/models.md shows. Arguments are parts of names: only these architectures are taken.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.output import NullMonitor
from core.bootstrap import migrate, opened
from core.clip.bases import BaseImporter
from core.clip.compile import GraphCompiler
from core.clip.inputs import text_features
from core.clip.model import empty_network
from core.exporting.exporter import VersionExporter
from core.exports.exporter import Samples
from core.exports.folders import write_folder
from core.platform import Platform
from core.recipes.fields import Method, Precision
from core.recipes.rules import Recipe
from core.registry.architecture import untrainable_reason
from core.registry.exports import ExportFormat, require_equal
from core.registry.text_towers import TEXT_CONFIG, text_config, text_tower_name
from core.settings import Settings
from core.values import Digest
from tests.support.api.image_files import picture
from tests.support.factories import a_job, a_model, a_policy, a_version
from tests.support.learning.lessons import red_and_blue, train
from tests.support.learning.tiny_clip import described, folder_of, tiny_clip
from tests.support.learning.tokenizers import size_of
from tests.support.learning.towers import small_text_config

CPU, QUIET = torch.device("cpu"), NullMonitor()
EXPORTS = (ExportFormat.OPEN_CLIP, ExportFormat.ONNX)
RECIPE = Recipe(
    epochs=1,
    batch_size=4,
    sentences=6,
    sentence_length=6,
    method=Method.VRLWF,
    learning_rate=1e-4,
    precision=Precision.FP32,
)
# Parts of names of timm's towers, and the small tower that stands for them.
SMALL = {"convnext": "test_convnext", "fastvit": "test_efficientnet"}
# How the tokenizers of open_clip's configs are made, by a part of their names.
KINDS = {
    "SigLIP2": "siglip2",
    "SigLIP": "siglip",
    "bert-base": "clipa",
    "xlm": "worldwide",
    "roberta": "roberta",
    "google/mt5": "mt5",
    "nllb": "nllb",
    "": "worldwide",
}


def main() -> int:
    """Take the architectures; return how many of those that are not refused got stuck."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of names of architectures")
    wanted = parser.parse_args().names
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    known: dict[str, dict[str, str]] = {}
    counts: Counter[str] = Counter()
    stuck = 0
    for name in open_clip.list_models():
        if wanted and not any(part in name for part in wanted):
            continue
        model_cfg = json.loads(json.dumps(open_clip.get_model_config(name)))
        counts["architectures"] += 1
        if reason := untrainable_reason(model_cfg):
            print(f"{name}: refused: {reason}", flush=True)
            continue
        problem = on_meta(model_cfg)
        small = {"model_cfg": shrunk(model_cfg), **small_sizes(model_cfg)}
        key = json.dumps(small, sort_keys=True)
        if key not in known:
            known[key] = walked(small)
        found = {"built": problem} | known[key]
        counts.update(step for step, failed in found.items() if not failed)
        failed = [f"{step}: {why}" for step, why in found.items() if why and step not in ENGINES]
        stuck += bool(failed)
        print(f"{name}: {'; '.join(failed) or 'all'}; {engines(found)}", flush=True)
    print(
        f"{len(known)} shrunken architectures; " + ", ".join(f"{k} {n}" for k, n in counts.items())
    )
    return stuck


ENGINES = ("onnx", "openvino")


def engines(found: dict[str, str]) -> str:
    """Return which engines serve an architecture."""
    exact = [name for name in ENGINES if found.get(name) == ""]
    return f"served by torch and {', '.join(exact)}" if exact else "served by torch"


def on_meta(model_cfg: dict[str, Any]) -> str:
    """Return why a whole architecture gives no features of one width, or nothing."""
    try:
        with torch.device("meta"):
            network = empty_network({"model_cfg": model_cfg, **text_config(model_cfg)}).eval()
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            network.to_empty(device="cpu")
            size = network.visual.image_size
            height, width = size if isinstance(size, tuple | list) else (size, size)
            image = network.encode_image(torch.zeros(1, 3, height, width))
            length = model_cfg["text_cfg"].get("context_length", 77)
            text = text_features(network, torch.zeros(1, length, dtype=torch.long))
    except Exception as error:  # noqa: BLE001 - it is what the table shows
        return f"{type(error).__name__}: {error}"[:200]
    expected = (1, model_cfg["embed_dim"])
    same = tuple(image.shape) == tuple(text.shape) == expected
    return "" if same else f"features of {tuple(image.shape)} and {tuple(text.shape)}"


def shrunk(model_cfg: dict[str, Any]) -> dict[str, Any]:
    """Return a config with the same settings, and little depth and width."""
    small = copy.deepcopy(model_cfg)
    vision, text = small["vision_cfg"], small["text_cfg"]
    small["embed_dim"] = 16
    if name := vision.get("timm_model_name"):
        vision["timm_model_name"] = next(
            (tower for part, tower in SMALL.items() if part in name), "test_vit"
        )
        vision["image_size"] = 160
        if vision.get("timm_proj") in {"none", "", None} and "timm_proj" in vision:
            small["embed_dim"] = 64  # the tower's own
    elif isinstance(vision.get("layers"), list):
        vision |= {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": 32}
    else:
        vision |= {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 16}
    width = small["embed_dim"] if text.get("proj_type") == "none" else 8
    text |= {"layers": 1, "width": width, "heads": 2, "context_length": 16}
    if tokenizer := text.get("hf_tokenizer_name"):
        kind = kind_of(tokenizer)
        text |= {"hf_tokenizer_name": f"test/{kind}", "vocab_size": size_of(kind)}
    return small


def kind_of(tokenizer: str) -> str:
    """Return how a tokenizer is trained that has the frame of a published one."""
    return next(kind for part, kind in KINDS.items() if part in tokenizer)


def small_sizes(model_cfg: dict[str, Any]) -> dict[str, Any]:
    """Return the `text_config` of a text tower of transformers, with little depth and width."""
    if (name := text_tower_name(model_cfg)) is None:
        return {}
    return {
        TEXT_CONFIG: small_text_config(name, kind_of(model_cfg["text_cfg"]["hf_tokenizer_name"]))
    }


def walked(small: dict[str, Any]) -> dict[str, str]:
    """Return what stopped each step of a small model: nothing, if it went well."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home) / "home")
        migrate(settings)
        with opened(settings) as platform:
            return _walked(small, Path(home), platform)


def _walked(small: dict[str, Any], home: Path, platform: Platform) -> dict[str, str]:
    found: dict[str, str] = {}
    artifacts: Any = platform.artifacts
    squashed = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    config = described({**small, "preprocess_cfg": squashed})
    version = Digest("")

    def imported() -> None:
        nonlocal version
        folder = folder_of(home / "base", tiny_clip(config=config))
        version = BaseImporter(artifacts, folders=(home,)).load(str(folder), QUIET)[0].digest

    def taught() -> None:
        nonlocal version
        spec = replace(red_and_blue(artifacts), parent=version, root=version, recipe=RECIPE)
        version = train(artifacts, spec).digest

    def served() -> None:
        check = GraphCompiler(platform, device=CPU, threads=1).compile(version, QUIET)
        for engine in ENGINES:
            exact = check is not None and engine in check.serving
            found[engine] = "" if exact else str(check and check.problem)

    def exported() -> None:
        exporter = VersionExporter(artifacts, threads=1)
        pictures = tuple(artifacts.put(picture(seed, side=40)) for seed in range(3))
        samples = Samples(images=pictures, texts=("a photo of a red panda.", "2 blue squares!"))
        for one in EXPORTS:
            folder = home / one.value
            folder.mkdir()
            if one.is_open_clip_folder:
                job = a_job(a_model(a_policy()))
                write_folder(artifacts, a_version(job, 1, digest=version), folder)
            else:
                exporter.write(version, one, folder, QUIET)
            require_equal(one, exporter.check(version, one, folder, samples, QUIET))

    for step in (imported, taught, served, exported):
        try:
            step()
            found[step.__name__] = ""
        except Exception as error:  # noqa: BLE001 - it is what the table shows
            found[step.__name__] = f"{type(error).__name__}: {error}"[:200]
    return found


if __name__ == "__main__":
    sys.exit(main())
