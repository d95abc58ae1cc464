"""The inference process serves a version by ONNX Runtime if that is exact, and else by torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from benchmarks.output import NullMonitor
from core.artifacts.local import LocalArtifacts
from core.clip.bases import BaseImporter
from core.clip.compile import GraphCompiler
from core.clip.model import load
from core.clip.served import TorchModel
from core.engines.onnx import OnnxModel
from core.engines.rows import EngineChecks
from core.engines.rules import LEAST_COSINE, Engine
from core.engines.served import ServedModel
from core.platform import Platform
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
    assert check is not None
    assert check.exact
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
    assert "torch serves it" in caplog.text


def test_what_onnx_loads_but_cannot_run_is_served_by_torch(
    chooser: EngineChooser, version: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its errors are no RuntimeErrors, so that they would end the thread that follows aliases."""

    def run(*_: object) -> None:
        raise RuntimeException("no memory")

    monkeypatch.setattr(OnnxModel, "_run", run)
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
