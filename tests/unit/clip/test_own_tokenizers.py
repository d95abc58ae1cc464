"""Models with tokenizers of their own, from a base's folder to updates, engines and exports."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image

from core.clip import bases
from core.clip.bases import BaseImporter, read_pretrained
from core.clip.model import ClipModel, load, read_state, require_readable
from core.engines.graph_model import GraphModel
from core.engines.own_tokenizer import read_own_tokenizer
from core.engines.rules import Engine, Graph, Graphs, Tower, architecture_of
from core.errors import BaseUnknown, ClassInvalid, ModelNotTrainable
from core.exporting.exporter import VersionExporter
from core.exporting.towers import write_inputs
from core.exports.exporter import Samples
from core.exports.folders import write_folder
from core.learning.vocabulary import generator_of, sentences_of
from core.recipes.fields import DEFAULT_PROMPT, Method, Vocabulary
from core.recipes.rules import Recipe
from core.registry.exports import ExportFormat
from core.registry.versions import Weights
from tests.support.api.image_files import picture
from tests.support.factories import a_job, a_model, a_policy, a_version
from tests.support.learning.lessons import Watching, red_and_blue, train, with_recipe
from tests.support.learning.tiny_clip import folder_of, stored, tiny_clip
from tests.support.learning.tokenizers import KINDS, trained, write_tokenizer
from tests.support.learning.towers import own_config
from tests.support.memory_artifacts import MemoryArtifacts

pytestmark = pytest.mark.filterwarnings("default")  # transformers warns of its own

QUIET: Any = Watching()


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


def imported(kind: str, artifacts: MemoryArtifacts, path: Path) -> Weights:
    folder = folder_of(path / "base", tiny_clip(config=own_config(kind)))
    return BaseImporter(artifacts, folders=(path,)).load(str(folder), QUIET)[0]


def tokenizers_of(weights: Weights) -> list[tuple[str, int, str]]:
    return [(t.dtype, t.size, t.digest) for t in weights.tensors if t.name == "tokenizer"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_comes_in_learns_and_goes_out_with_its_tokenizer(
    kind: str, tmp_path: Path, artifacts: MemoryArtifacts
) -> None:
    root = imported(kind, artifacts, tmp_path)
    size = len(trained(kind).encode())
    assert [(dtype, bytes_) for dtype, bytes_, _ in tokenizers_of(root)] == [("U8", size)]
    assert root.config == own_config(kind)

    lesson = replace(red_and_blue(artifacts), parent=root.digest, root=root.digest)
    monitor = Watching()
    taught = train(artifacts, with_recipe(lesson, method=Method.VRLWF), monitor)
    assert taught.digest != root.digest
    assert tokenizers_of(taught) == tokenizers_of(root)  # stored once
    assert monitor.terms[0]["vr"] == pytest.approx(0, abs=1e-5)
    # In the small tower of NLLB, sinusoids outweigh random words: sentences hardly differ.
    assert monitor.terms[-1]["vr"] > (0 if kind == "nllb" else 1e-6)

    out = tmp_path / "out"
    out.mkdir()
    version = a_version(a_job(a_model(a_policy())), 1, digest=taught.digest)
    write_folder(artifacts, version, out)
    images = tuple(artifacts.put(picture(seed, side=40)) for seed in range(3))
    check = VersionExporter(artifacts, threads=1).check(
        taught.digest,
        ExportFormat.OPEN_CLIP,
        out,
        Samples(images=images, texts=("a photo of a red panda.", "2 blue squares!")),
        QUIET,
    )
    for what in ("images", "whole_images", "texts"):
        assert check[f"least_cosine_{what}"] >= 0.9999
    assert (out / "tokenizer.json").read_text() == trained(kind)
    again, _ = BaseImporter(artifacts, folders=(tmp_path,)).load(str(out), QUIET)
    assert again.digest == taught.digest


def test_a_model_without_one_uses_clips_bit_for_bit(
    tmp_path: Path, artifacts: MemoryArtifacts
) -> None:
    """Though a tokenizer lies in the folder, as in many that open_clip has published."""
    model = tiny_clip()
    folder = folder_of(tmp_path / "base", model)
    (folder / "tokenizer.json").write_text(trained("siglip"))
    weights, _ = BaseImporter(artifacts, folders=(tmp_path,)).load(str(folder), QUIET)
    assert weights == stored(model, artifacts)
    assert not tokenizers_of(weights)
    assert load(weights.digest, artifacts).tokenise(["a cat"])[0, :4].tolist() == [
        49406,
        320,
        2368,
        49407,
    ]


def test_an_architecture_that_needs_one_names_the_file_to_add(
    tmp_path: Path, artifacts: MemoryArtifacts
) -> None:
    folder = folder_of(tmp_path / "base", tiny_clip(config=own_config("siglip")))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BaseUnknown, match=r"'test/siglip': add its tokenizer.json and tokenizer_c"):
        BaseImporter(artifacts, folders=(tmp_path,)).load(str(folder), QUIET)
    assert not artifacts.bytes_of


def test_a_text_tower_of_transformers_is_whole_without_its_hub(
    tmp_path: Path, artifacts: MemoryArtifacts
) -> None:
    """Its name is no place that exists: the sizes come from the folder, and then the version."""
    root = imported("nllb", artifacts, tmp_path)
    assert root.config["text_config"]["model_type"] == "m2m_100"
    assert root.config["model_cfg"]["text_cfg"]["hf_model_name"] == "test/nllb"
    model, given = load(root.digest, artifacts), tiny_clip(config=own_config("nllb"))
    texts = ["a red panda", "two blue squares beside a red square"]
    with torch.no_grad():
        found = model.encode_texts(texts)
        whole = given.network.encode_text(given.tokenise(texts))  # not only to the longest's end
    whole = torch.nn.functional.normalize(whole, dim=-1)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(ModelNotTrainable, match="sizes of the text tower 'test/nllb' are not kno"):
        BaseImporter(artifacts, folders=(tmp_path,)).load(str(tmp_path / "base"), QUIET)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("mt5", "puts no token before a sentence"),  # as NLLB's legacy tokenizer
        ("siglip", "its pad_token has id 1"),
        ("clipa", "ends sentences with token 3, and the text tower with 2"),
    ],
)
def test_a_tokenizer_with_another_frame_than_the_text_towers_is_refused(
    kind: str, words: str, tmp_path: Path
) -> None:
    config = own_config("nllb")
    sizes = {"vocab_size": 1000, "pad_token_id": 0, "eos_token_id": 1 if kind == "mt5" else 2}
    config["text_config"] |= sizes
    write_tokenizer(tmp_path, kind)
    with pytest.raises(BaseUnknown, match=words):
        read_own_tokenizer(tmp_path, config)


@pytest.mark.parametrize("content", ["{}", trained("siglip2")])
def test_a_tokenizer_that_does_not_fit_leaves_nothing_behind(
    content: str, tmp_path: Path, artifacts: MemoryArtifacts
) -> None:
    folder = folder_of(tmp_path / "base", tiny_clip(config=own_config("siglip")))
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(BaseUnknown, match=r"The tokenizer.json in 'base' cannot be used: "):
        BaseImporter(artifacts, folders=(tmp_path,)).load(str(folder), QUIET)
    assert not artifacts.bytes_of


def test_weights_may_not_smuggle_a_tokenizer_in(tmp_path: Path, artifacts: MemoryArtifacts) -> None:
    """Nothing has checked the tensor of that name in a file of weights."""
    model = tiny_clip()
    model.network.register_buffer("tokenizer", torch.zeros(4, dtype=torch.uint8))
    assert "tokenizer" in read_state(stored(model, artifacts), artifacts)
    folder = folder_of(tmp_path / "base", model, keep_tokenizer=True)
    with pytest.raises(BaseUnknown, match="do not match its config"):
        BaseImporter(artifacts, folders=(tmp_path,)).load(str(folder), QUIET)


def test_a_listed_base_brings_the_tokenizer_of_its_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_clip(config=own_config("siglip"))
    hub = folder_of(tmp_path / "hub", model)
    del model.network.tokenizer
    open_clip.set_model_preprocess_cfg(model.network, {"mean": (0.5,) * 3, "std": (0.5,) * 3})
    asked = []

    def download(name: str, file: str) -> str:
        asked.append((name, file))
        return str(hub / file)

    monkeypatch.setattr(bases, "hf_hub_download", download)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: {"hf_hub": "x"})
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda name: own_config("siglip")["model_cfg"]
    )
    monkeypatch.setattr(open_clip, "create_model", lambda *args, **settings: model.network)
    config, network = read_pretrained("ViT-B-16-SigLIP", "webli")
    files = ("tokenizer.json", "tokenizer_config.json")
    assert asked == [("test/siglip", file) for file in files]
    read = ClipModel(network=network, config=config)
    assert read.tokenizer_file == trained("siglip").encode()
    shutil.rmtree(hub)
    with pytest.raises(BaseUnknown, match=r"'hub' has no readable tokenizer.json"):
        read_pretrained("ViT-B-16-SigLIP", "webli")


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_are_drawn_from_the_models_own_words(kind: str) -> None:
    model = tiny_clip(config=own_config(kind))
    recipe = Recipe(sentences=300, sentence_length=8, vocabulary=Vocabulary.WORD_FINAL)
    drawn = sentences_of(recipe, model).draw(generator_of("words"))
    frame = model.tokenizer.frame
    first, last = len(frame.before), 8 - len(frame.after)
    assert set(drawn[:, first:last].flatten().tolist()) == set(model.tokenizer.words)
    assert (drawn[:, :first] == torch.tensor(frame.before)).all()
    assert (drawn[:, last:8] == torch.tensor(frame.after)).all()
    assert (drawn[:, 8:] == frame.padding).all()


def test_an_engine_reads_texts_by_the_versions_own_tokenizer(artifacts: MemoryArtifacts) -> None:
    model = tiny_clip(config=own_config("worldwide"))
    read = []

    def open_tower(tower: Tower, *_: object, **__: object) -> Any:
        return lambda inputs: read.append((tower, inputs.tolist()))

    towers = {tower: Graph(onnx=b"", tensors=(), croppable=True) for tower in Tower}
    graphs = Graphs(architecture=architecture_of(model.config), towers=towers)
    served = GraphModel(
        stored(model, artifacts), graphs, artifacts, open_tower, engine=Engine.ONNX, threads=1
    )
    texts = ["a red panda", "dogs"]
    served.encode_tokens(served.tokenizer.rows(texts))
    expected = model.tokenise(texts)
    longest = int((expected[0] == 2).nonzero()) + 1  # the rest is padding
    assert read == [(Tower.TEXT, expected[:, :longest].tolist())]


def test_an_onnx_export_says_how_its_texts_become_tokens(tmp_path: Path) -> None:
    write_inputs(tiny_clip(config=own_config("siglip2")), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "tokenizer.json"}
    assert (tmp_path / "tokenizer.json").read_text() == trained("siglip2")
    assert json.loads((tmp_path / "model.json").read_bytes())["text"] == {
        "context_length": 16,
        "clean": "canonicalize",
        "before": [],
        "after": [1],
        "padding": 0,
    }


def test_classes_whose_letters_are_unknown_are_named() -> None:
    model = tiny_clip(config=own_config("siglip"))
    require_readable(model, DEFAULT_PROMPT, ["panda"])
    with pytest.raises(ClassInvalid, match=r"in: 'パンダ', '!!'"):
        require_readable(model, DEFAULT_PROMPT, ["panda", "パンダ", "!!"])


@pytest.mark.parametrize("kind", ["siglip", "worldwide"])
def test_images_are_prepared_as_the_base_says(kind: str) -> None:
    """SigLIP's are squashed to a square and lie between -1 and 1; CLIP's are cut."""
    model = tiny_clip(config=own_config(kind))
    height, width = model.preprocess.size
    wide = Image.new("RGB", (4 * width, height), "black")
    wide.paste("white", (0, 0, width, height))  # the left quarter, which a centre cut loses
    pixels = model.preprocess.evaluation_pixels(wide)
    inputs = model.preprocess.normalise(pixels)
    if kind == "siglip":
        assert (float(inputs.min()), float(inputs.max())) == (-1.0, 1.0)
    else:
        assert pixels.max() < 30


def test_texts_of_a_causal_tower_are_cut_after_their_end_token() -> None:
    model = tiny_clip(config=own_config("worldwide"))
    tokens = model.tokenise(["a cat", "a red panda"])
    with torch.no_grad():
        whole = model.network.encode_text(tokens)  # type: ignore[operator]
        torch.testing.assert_close(
            model.encode_tokens(tokens), torch.nn.functional.normalize(whole, dim=-1)
        )
