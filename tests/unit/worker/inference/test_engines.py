"""The inference process serves a version by ONNX Runtime if that is exact, and else by torch."""

import json
import platform as platform_of
import subprocess
import sys
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import psutil
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from benchmarks.output import NullMonitor
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import BytesCallback
from core.clip.bases import BaseImporter
from core.clip.compile import GraphCompiler
from core.clip.model import load
from core.clip.served import TorchModel
from core.engines import onnx
from core.engines.graph_model import GraphModel
from core.engines.rows import EngineChecks
from core.engines.rules import LEAST_COSINE, Engine
from core.engines.served import ServedModel, read_arrays
from core.platform import Platform
from core.registry.versions import Weights
from core.values import Digest
from worker.inference import engines
from worker.inference.classifier import MicroBatcher
from worker.inference.engines import EngineChooser


@pytest.fixture
def version(platform: Platform) -> Digest:
    """The bundled model, compiled."""
    weights, _ = BaseImporter(platform.artifacts).load("bundled", NullMonitor())
    import torch

    compiler = GraphCompiler(platform, device=torch.device("cpu"), threads=2)
    check = compiler.compile(weights.digest, NullMonitor())
    assert Engine.ONNX in check.serving
    return weights.digest


@pytest.fixture
def chooser(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> EngineChooser:
    monkeypatch.setattr(engines, "gpu_files", lambda: False)
    return EngineChooser(platform, MicroBatcher(), threads=2)


def features_of(model: ServedModel) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    return model.encode_images(pixels)


def test_an_exact_version_is_served_by_onnx(
    platform: Platform, chooser: EngineChooser, version: Digest
) -> None:
    served = chooser.open(version)
    assert served.engine is Engine.ONNX
    own = TorchModel(load(version, platform.artifacts).freeze())
    assert (features_of(served) * features_of(own)).sum(axis=1).min() >= LEAST_COSINE


def test_a_version_without_a_check_is_served_by_torch(
    platform: Platform, chooser: EngineChooser
) -> None:
    weights, _ = BaseImporter(platform.artifacts).load("bundled", NullMonitor())
    assert chooser.open(weights.digest).engine is Engine.TORCH


@pytest.mark.parametrize("fault", ["missing", "damaged", "no_library"])
def test_what_onnx_cannot_load_is_served_by_torch(
    platform: Platform,
    chooser: EngineChooser,
    version: Digest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    with platform.transactions(read_only=True) as work:
        check = work[EngineChecks].find(version)
    assert check is not None
    assert check.graphs is not None
    assert isinstance(platform.artifacts, LocalArtifacts)
    file = platform.artifacts._path(check.graphs)
    if fault == "missing":
        platform.artifacts.delete(check.graphs)
    elif fault == "damaged":
        file.chmod(0o600)
        file.write_bytes(file.read_bytes()[:-100] + b"0" * 100)
    else:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert chooser.open(version).engine is Engine.TORCH
    assert "torch serves" in caplog.text


def test_what_onnx_loads_but_cannot_run_is_served_by_torch(
    chooser: EngineChooser, version: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its errors are no RuntimeErrors, so that they would end the thread that follows aliases."""

    def run(*_: object) -> None:
        raise RuntimeException("no memory")

    monkeypatch.setattr(GraphModel, "encode_images", run)
    assert chooser.open(version).engine is Engine.TORCH


@pytest.mark.parametrize(
    ("file", "found"), [("nvidia0", True), ("kfd", True), ("dxg", True), ("nvidiactl", False)]
)
def test_torch_is_asked_for_a_gpu_where_a_driver_has_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, found: bool
) -> None:
    (tmp_path / file).touch()
    monkeypatch.setattr(engines, "DEVICES", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert engines.gpu_files() is found


@pytest.mark.skipif(platform_of.libc_ver()[0] != "glibc", reason="only glibc keeps the memory")
def test_loading_a_version_gives_the_memory_back_that_was_freed(
    chooser: EngineChooser, version: Digest
) -> None:
    chooser.open(version)  # what a first load takes is not measured
    freed = [bytearray(100_000) for _ in range(3000)]
    kept = bytearray(100_000)  # behind them
    before = psutil.Process().memory_info().rss
    del freed
    chooser.open(version)
    assert before - psutil.Process().memory_info().rss > 200 * 10**6
    assert len(kept) == 100_000


def test_a_version_keeps_no_memory_of_its_batches(
    version: Digest, chooser: EngineChooser, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, open_session = [], onnx.open_session

    def opened(*given: Any) -> Any:
        sessions.append(open_session(*given))
        return sessions[-1]

    monkeypatch.setattr(onnx, "open_session", opened)
    assert chooser.open(version).engine is Engine.ONNX
    options = [one.get_session_options() for one in sessions]
    assert [one.enable_cpu_mem_arena for one in options] == [False, False]


def test_tensors_are_read_beside_each_other(
    platform: Platform, version: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store in the network takes as long for one as for several."""
    weights = Weights.from_bytes(platform.artifacts.get(version))
    names = [entry.name for entry in weights.tensors][:2]
    get, both = platform.artifacts.get, Barrier(2, timeout=20)

    def waiting(digest: Digest, moved: BytesCallback) -> bytes:
        both.wait()
        return get(digest, moved)

    monkeypatch.setattr(platform.artifacts, "get", waiting)
    assert [*read_arrays(weights, names, platform.artifacts)] == names


def test_torch_is_not_imported_where_onnx_serves(platform: Platform, version: Digest) -> None:
    program = """
import json, sys
from core.bootstrap import opened
from core.settings import read_settings
from core.values import Digest
from worker.inference import engines
from worker.inference.classifier import MicroBatcher
from worker.inference.server import make_app

engines.gpu_files = lambda: False
with opened(read_settings()) as platform:
    make_app(platform)
    served = engines.EngineChooser(platform, MicroBatcher(), threads=1).open(Digest(sys.argv[1]))
    served.encode_tokens(served.tokenizer.rows(["a cat"]))
print(json.dumps([served.engine, [name for name in ("torch", "open_clip") if name in sys.modules]]))
sys.exit(0)
"""
    environment = {
        "PERENNIAL_HOME": str(platform.settings.home),
        "PERENNIAL_INFERENCE_KEY": platform.settings.inference_key.get_secret_value(),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, version],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout) == ["onnx", []]
