"""OpenVINO has torch's features in fp32, and serves versions whose precision is bf16, if it can."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmarks.output import NullMonitor
from core.bootstrap import migrate, opened
from core.clip.bases import BUNDLED, read_folder
from core.clip.compile import SHIPPED, GraphCompiler, least_cosine
from core.clip.model import ClipModel, load, publish
from core.clip.served import TorchModel
from core.engines import opening, openvino
from core.engines.rows import EngineChecks
from core.engines.rules import LEAST_COSINE, Engine, EngineCheck, Graphs
from core.engines.served import ServedModel
from core.errors import EngineUnavailable
from core.platform import Platform
from core.registry.versions import ServingPrecision, Weights
from core.settings import Settings
from core.values import Digest, ignore_progress
from tests.support.learning.tiny_clip import add_graphs, tiny_clip
from worker.inference.classifier import MicroBatcher
from worker.inference.engines import EngineChooser, give_back_memory

CPU = torch.device("cpu")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = Settings(home=tmp_path, engine="auto")
    migrate(settings)
    with opened(settings) as platform:
        yield platform


def a_version(
    platform: Platform,
    precision: ServingPrecision = ServingPrecision.FP32,
    model: ClipModel | None = None,
) -> Digest:
    """A small model in a precision: the same tensors in any."""
    add_graphs(platform)
    model = model or tiny_clip(1)
    stated = {} if precision is ServingPrecision.FP32 else {"precision": precision.value}
    config, state = {**model.config, **stated}, model.network.state_dict()
    return publish(config, state, platform.artifacts, ignore_progress).digest


def compiled(platform: Platform, version: Digest) -> EngineCheck:
    compiler = GraphCompiler(platform, device=CPU, threads=1)
    check = compiler.compile(version, NullMonitor())
    assert check is not None
    return check


def chooser(platform: Platform) -> EngineChooser:
    return EngineChooser(platform, MicroBatcher(), threads=1)


def bundled_by_openvino(platform: Platform) -> ServedModel:
    config, network = read_folder(BUNDLED)
    weights = publish(config, network.state_dict(), platform.artifacts, ignore_progress)
    graphs = Graphs.from_bytes(SHIPPED.read_bytes())
    return opening.open_by(Engine.OPENVINO, weights, graphs, platform.artifacts, threads=1)


def features_of(model: ServedModel, count: int = 3) -> np.ndarray:
    size = count, model.input.height, model.input.width, 3
    pixels = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    return model.encode_images(pixels)


def test_the_fastest_exact_engine_serves_and_is_remembered(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = a_version(platform)
    check = compiled(platform, version)
    assert set(check.serving) == {Engine.ONNX, Engine.OPENVINO}
    seconds = {Engine.ONNX: 0.2, Engine.OPENVINO: 0.1}
    timed: list[Engine] = []

    def first_pass(model: ServedModel, **given: bool) -> float:
        timed.extend([model.engine] * given["timed"])
        return seconds[model.engine]

    monkeypatch.setattr(opening, "first_pass", first_pass)
    chosen = chooser(platform)
    assert chosen.open(version).engine is Engine.OPENVINO
    assert sorted(timed) == [Engine.ONNX, Engine.OPENVINO]
    served = chosen.open(version)
    assert (served.engine, len(timed)) == (Engine.OPENVINO, 2)
    own = TorchModel(load(version, platform.artifacts).freeze())
    assert least_cosine(own, served) >= LEAST_COSINE
    first = features_of(served)
    kept = first.copy()
    features_of(served, count=5)
    assert (first == kept).all()  # a later call does not write into what an earlier one returned


def test_an_engine_is_not_remembered_as_the_fastest_before_others_were_timed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a version that was compared before the others were installed."""
    old = a_version(platform)
    new = a_version(platform, model=tiny_clip(2))
    with monkeypatch.context() as without:
        without.setattr(opening, "release_of", lambda engine: "1" if engine == "onnx" else None)
        compiled(platform, old)
    assert len(compiled(platform, new).serving) == 2
    seconds = {Engine.ONNX: 0.2, Engine.OPENVINO: 0.1}
    monkeypatch.setattr(opening, "first_pass", lambda model, **_: seconds[model.engine])
    chosen = chooser(platform)
    assert [chosen.open(one).engine for one in (old, new)] == [Engine.ONNX, Engine.OPENVINO]


def test_a_comparison_by_other_graphs_is_made_again(platform: Platform) -> None:
    version = a_version(platform)
    check = compiled(platform, version)
    inexact = {Engine.ONNX: replace(check.engines[Engine.ONNX], cosine=0.5)}
    other = replace(check, graphs=Digest("0" * 64), engines=inexact)  # OpenVINO is new
    with platform.transactions() as work:
        work[EngineChecks].put(other)
        work.commit()
    add_graphs(platform)  # again, so that these are the newest
    assert compiled(platform, version).engines == check.engines


def test_another_release_than_was_compared_serves_with_a_warning(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version = a_version(platform)
    compiled(platform, version)
    chooser(platform).open(version)
    assert "was compared by" not in caplog.text
    monkeypatch.setattr(opening, "release_of", lambda engine: "9" if engine == "onnx" else None)
    assert chooser(platform).open(version).engine is Engine.ONNX
    assert "onnx 9 serves a version that was compared by" in caplog.text


def test_a_version_keeps_no_memory_of_its_large_batches(platform: Platform) -> None:
    opened = bundled_by_openvino(platform)
    features_of(opened)
    give_back_memory()
    before = psutil.Process().memory_info().rss
    features_of(opened, count=256)  # which take 150 MB
    give_back_memory()
    assert psutil.Process().memory_info().rss - before < 75 * 10**6


def test_weights_that_a_killed_process_has_left_are_deleted(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, young = (tmp_path / f"perennial-openvino-{name}" for name in ("left", "young"))
    for folder in (left, young):
        folder.mkdir()
        (folder / "weights").write_bytes(b"x")
    os.utime(left, (1e9, 1e9))
    compiled(platform, a_version(platform))
    assert [*tmp_path.glob("perennial-openvino-*")] == [young]


def test_an_engine_that_is_installed_later_is_compared_then(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = a_version(platform)
    with monkeypatch.context() as without:
        without.setattr(opening, "release_of", lambda engine: "1" if engine == "onnx" else None)
        before = compiled(platform, version)
    assert before.serving == (Engine.ONNX,)
    after = compiled(platform, version)
    assert set(after.serving) == {Engine.ONNX, Engine.OPENVINO}
    assert after.engines[Engine.ONNX].release != "1"  # another release is compared again


def test_a_version_in_bf16_is_scored_and_served_by_openvino_alone(platform: Platform) -> None:
    version, exact = a_version(platform, ServingPrecision.BF16), a_version(platform)
    tensors = [Weights.from_bytes(platform.artifacts.get(one)).tensors for one in (version, exact)]
    assert version != exact
    assert tensors[0] == tensors[1]
    if not openvino.has_bf16():
        with pytest.raises(EngineUnavailable, match="instructions for bf16"):
            compiled(platform, version)
        return
    check = compiled(platform, version)
    assert check.serving == (Engine.OPENVINO,)
    cosine = check.engines[Engine.OPENVINO].cosine
    assert cosine is not None
    assert 0.99 < cosine < LEAST_COSINE
    served = chooser(platform).open(version)
    own = TorchModel(load(exact, platform.artifacts).freeze())
    assert 0.99 < (features_of(served) * features_of(own)).sum(axis=1).min() < LEAST_COSINE
    scored = GraphCompiler(platform, device=torch.device("cuda"), threads=1)
    model = scored.open(version, NullMonitor())
    assert model is not None
    pixels = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    answers = model.encode_images(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert (answers.numpy() == features_of(served)).all()


@pytest.mark.parametrize("lack", ["library", "instructions", "check", "limit"])
def test_a_version_in_bf16_is_never_served_by_other_numbers(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    version = a_version(platform, ServingPrecision.BF16)
    if lack == "library":
        monkeypatch.setattr(opening, "release_of", lambda _: None)
    elif lack == "limit":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    else:
        monkeypatch.setattr(openvino, "has_bf16", lambda: lack == "check")
    with pytest.raises(EngineUnavailable):
        chooser(platform).open(version)
    if lack != "check":
        with pytest.raises(EngineUnavailable):
            compiled(platform, version)
        with platform.transactions(read_only=True) as work:
            assert work[EngineChecks].find(version) is None


def test_nothing_is_compared_where_torch_alone_is_to_serve(platform: Platform) -> None:
    version = a_version(platform)
    by_torch = replace(platform, settings=platform.settings.model_copy(update={"engine": "torch"}))
    compiler = GraphCompiler(by_torch, device=CPU, threads=1)
    assert compiler.compile(version, NullMonitor()) is None
    assert compiler.open(version, NullMonitor()) is None
    check = compiled(platform, version)  # by a worker that has engines
    assert compiler.compile(version, NullMonitor()) == check
    assert compiler.open(version, NullMonitor()) is None
    assert chooser(by_torch).open(version).engine is Engine.TORCH
