"""Versions by ONNX Runtime have torch's features, or are served by torch."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.output import NullMonitor
from core.bootstrap import migrate, opened
from core.clip import compile as compiling
from core.clip.bases import BUNDLED, read_folder
from core.clip.compile import SHIPPED, GraphCompiler, least_cosine
from core.clip.model import ClipModel
from core.clip.served import AT_ONCE, TorchModel
from core.engines.opening import open_by
from core.engines.rows import EngineChecks
from core.engines.rules import LEAST_COSINE, Engine, Graphs, Tower, architecture_of
from core.errors import ArtifactsUnavailable, CancelRequested, StorageFull
from core.jobs.rules import Monitor
from core.platform import Platform
from core.settings import Settings
from core.values import Digest
from tests.support.factories import an_engine_check, digest
from tests.support.learning.tiny_clip import GRAPHS, stored, tiny_clip, tiny_config

CPU = torch.device("cpu")


def bundled(change: float = 0.0) -> ClipModel:
    """The bundled model, with its weights changed a little."""
    config, network = read_folder(BUNDLED)
    torch.manual_seed(1)
    state = {
        name: tensor + change * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    return ClipModel.build(config, state, CPU).freeze()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = Settings(home=tmp_path)
    migrate(settings)
    with opened(settings) as platform:
        yield platform


@pytest.fixture
def compiler(platform: Platform) -> GraphCompiler:
    return GraphCompiler(platform, device=CPU, threads=2)


@pytest.fixture
def monitor() -> Monitor:
    return NullMonitor()


def test_the_shipped_graphs_are_of_the_bundled_architecture() -> None:
    """If not, run `python -m devtools.bundled_graphs`."""
    shipped = Graphs.from_bytes(SHIPPED.read_bytes())
    assert shipped.architecture == architecture_of(read_folder(BUNDLED)[0])
    assert b"/" + b"core" + b"/" not in shipped.towers[Tower.IMAGE].onnx  # no paths


@pytest.mark.parametrize("change", [0.0, 0.02])
def test_one_pair_of_graphs_gives_the_features_of_every_version(
    platform: Platform, compiler: GraphCompiler, monitor: Monitor, change: float
) -> None:
    model = bundled(change)
    version = stored(model, platform.artifacts).digest

    check = compiler.compile(version, monitor)
    encoder = compiler.open(version, monitor)

    assert check is not None
    assert Engine.ONNX in check.serving
    assert encoder is not None
    texts = [f"a photo of {'many ' * (n % 5)}things" for n in range(9)] + [""]
    with torch.inference_mode():
        words, theirs = model.encode_texts(texts), encoder.encode_texts(texts)
        assert (words * theirs).sum(dim=1).min() >= LEAST_COSINE
        for images in (1, 2, 5, 17):
            pixels = torch.randint(0, 256, (images, 3, *model.preprocess.size), dtype=torch.uint8)
            one, other = model.encode_images(pixels), encoder.encode_images(pixels)
            assert (one * other).sum(dim=1).min() >= LEAST_COSINE
            # Logits differ by less than 0.001, and so no answer does unless two are as close.
            logits, others = (model.scale * rows @ words.T for rows in (one, other))
            assert (logits - others).abs().max() < 1e-3
    assert encoder.scale.item() == pytest.approx(model.scale.item())


def test_a_batch_that_an_engine_answers_is_reported_by_parts(
    compiler: GraphCompiler, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[int] = []
    monitor = NullMonitor()
    encoder = compiler.open(stored(bundled(), platform.artifacts).digest, monitor)
    assert encoder is not None
    pixels = torch.randint(0, 256, (40, 3, *encoder.preprocess.size), dtype=torch.uint8)
    apart = [encoder.encode_images(some) for some in pixels.split(AT_ONCE)]
    monkeypatch.setattr(encoder, "_moved", reported.append)
    assert encoder.encode_images(pixels).equal(torch.cat(apart))
    assert len(reported) == len(apart) == 3
    assert encoder.encode_texts(["a photo of things"] * 17).shape[0] == 17
    assert len(reported) == 5


def test_versions_of_an_architecture_share_their_graphs(
    platform: Platform,
    compiler: GraphCompiler,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = Graphs.from_bytes(SHIPPED.read_bytes())
    made: list[ClipModel] = []

    def write(model: ClipModel) -> Graphs:
        made.append(model)
        return graphs

    monkeypatch.setattr(compiling, "write_graphs", write)
    monkeypatch.setattr(compiling, "SHIPPED", Path("nowhere"))
    versions = [stored(bundled(change), platform.artifacts).digest for change in (0.0, 0.01, 0.02)]
    checks = [compiler.compile(version, monitor) for version in versions]
    again = compiler.compile(versions[0], monitor)

    assert len(made) == 1
    assert len({check.graphs for check in checks if check}) == 1
    assert again == checks[0]


def test_a_version_whose_features_differ_is_answered_for_by_torch(
    platform: Platform, compiler: GraphCompiler, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does whose pixels are normalised in another way than the graphs do."""
    model = bundled()
    preprocess = {**model.config["preprocess_cfg"], "mean": [0.1, 0.2, 0.3]}
    other = ClipModel(network=model.network, config={**model.config, "preprocess_cfg": preprocess})
    version = stored(other, platform.artifacts).digest
    graphs = Graphs.from_bytes(SHIPPED.read_bytes())
    monkeypatch.setattr(compiling, "write_graphs", lambda _: graphs)

    check = compiler.compile(version, monitor)

    assert check is not None
    assert not check.serving
    assert check.problem is not None
    assert "differ" in check.problem
    assert compiler.open(version, monitor) is None


def test_an_architecture_that_cannot_be_exported_is_answered_for_by_torch(
    platform: Platform, compiler: GraphCompiler, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: ClipModel) -> Graphs:
        raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(compiling, "write_graphs", write)
    version = stored(tiny_clip(1), platform.artifacts).digest
    check = compiler.compile(version, monitor)
    assert check is not None
    assert (check.graphs, check.problem) == (None, "RuntimeError: no such operator")
    assert compiler.open(version, monitor) is None


class Interrupted(NullMonitor):
    """Stops a job at a step of its compilation."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        if step == 1:
            raise CancelRequested


def test_a_job_that_stops_while_it_compiles_leaves_no_check(
    platform: Platform, compiler: GraphCompiler, monitor: Monitor
) -> None:
    version = stored(bundled(), platform.artifacts).digest
    with pytest.raises(CancelRequested):
        compiler.compile(version, Interrupted())
    check = compiler.compile(version, monitor)
    assert check is not None
    assert Engine.ONNX in check.serving


@pytest.mark.parametrize("fault", [StorageFull, ArtifactsUnavailable])
def test_a_store_that_fails_is_no_problem_of_the_version(
    platform: Platform,
    compiler: GraphCompiler,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[Exception],
) -> None:
    version = stored(bundled(), platform.artifacts).digest

    def put(*_: object) -> None:
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(platform.artifacts, "put", put)
        with pytest.raises(fault):
            compiler.compile(version, monitor)
    check = compiler.compile(version, monitor)
    assert check is not None
    assert Engine.ONNX in check.serving


def test_graphs_that_are_missing_are_made_again(
    platform: Platform,
    compiler: GraphCompiler,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs = Graphs.from_bytes(SHIPPED.read_bytes())
    monkeypatch.setattr(compiling, "write_graphs", lambda _: graphs)
    monkeypatch.setattr(compiling, "SHIPPED", Path("nowhere"))
    first, second = (stored(bundled(change), platform.artifacts).digest for change in (0.0, 0.01))
    before = compiler.compile(first, monitor)
    assert before is not None
    assert before.graphs is not None
    platform.artifacts.delete(before.graphs)
    after = compiler.compile(second, monitor)
    assert after is not None
    assert Engine.ONNX in after.serving
    assert after.graphs == before.graphs


def test_graphs_are_found_behind_a_newer_check_without_any(
    platform: Platform,
    compiler: GraphCompiler,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "SHIPPED", Path("nowhere"))
    shipped = Graphs.from_bytes(SHIPPED.read_bytes())
    monkeypatch.setattr(compiling, "write_graphs", lambda _: shipped)
    first, last = (stored(bundled(change), platform.artifacts).digest for change in (0.0, 0.01))
    check = compiler.compile(first, monitor)
    assert check is not None
    failed = replace(
        check,
        weights=Digest("0" * 64),
        graphs=None,
        problem="lack of memory",
        checked_at=check.checked_at + timedelta(seconds=1),
    )
    with platform.transactions() as work:
        work[EngineChecks].put(failed)
        work.commit()
    monkeypatch.delattr(compiling, "write_graphs")
    found = compiler.compile(last, monitor)
    assert found is not None
    assert Engine.ONNX in found.serving


@pytest.mark.parametrize(
    ("said", "problem"), [("", "RuntimeError: "), ("\x1b[96mStep 1\x1b[0m", "RuntimeError: Step 1")]
)
def test_a_failure_that_says_nothing_or_in_colours_becomes_a_plain_problem(
    platform: Platform,
    compiler: GraphCompiler,
    monitor: Monitor,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    problem: str,
) -> None:
    def write(_: ClipModel) -> Graphs:
        raise RuntimeError(said)

    monkeypatch.setattr(compiling, "write_graphs", write)
    check = compiler.compile(stored(tiny_clip(1), platform.artifacts).digest, monitor)
    assert check is not None
    assert check.problem == problem


def test_a_version_whose_features_are_no_numbers_has_no_cosine(
    platform: Platform, compiler: GraphCompiler, monitor: Monitor
) -> None:
    """JSON has none, and so no client could read the version."""
    check = compiler.compile(stored(bundled(float("nan")), platform.artifacts).digest, monitor)
    assert check is not None
    assert not check.serving
    assert {found.cosine for found in check.engines.values()} == {None}


def test_a_version_stored_in_fp64_is_computed_in_fp32_as_by_torch(
    platform: Platform, compiler: GraphCompiler, monitor: Monitor
) -> None:
    model = bundled()
    model.network.double()
    check = compiler.compile(stored(model, platform.artifacts).digest, monitor)
    assert check is not None
    assert check.problem is None
    assert Engine.ONNX in check.serving


def test_a_worker_with_a_gpu_answers_by_torch_and_checks_for_servers_without_one(
    platform: Platform, monitor: Monitor
) -> None:
    version = stored(bundled(), platform.artifacts).digest
    compiler = GraphCompiler(platform, device=torch.device("cuda"), threads=2)
    assert compiler.open(version, monitor) is None
    check = compiler.compile(version, monitor)
    assert check is not None
    assert Engine.ONNX in check.serving


def test_a_check_by_the_graphs_of_another_release_is_made_again(
    platform: Platform, compiler: GraphCompiler, monitor: Monitor
) -> None:
    version = stored(bundled(), platform.artifacts).digest
    stale = an_engine_check(version, architecture=digest("of a release before"), problem="then")
    with platform.transactions() as work:
        work[EngineChecks].put(stale)
        work.commit()
    check = compiler.compile(version, monitor)
    assert check is not None
    assert Engine.ONNX in check.serving
    with platform.transactions(read_only=True) as work:
        found = work[EngineChecks].find(version)
    assert found is not None
    assert Engine.ONNX in found.serving


def test_features_that_are_no_numbers_are_not_exact() -> None:
    class Broken(TorchModel):
        def encode_tokens(self, tokens: np.ndarray) -> np.ndarray:
            return super().encode_tokens(tokens) * np.nan

    model = tiny_clip(1).freeze()
    assert not least_cosine(TorchModel(model), Broken(model)) >= LEAST_COSINE


def test_the_graphs_of_tests_are_of_their_architecture() -> None:
    """If not, write the file again."""
    assert Graphs.from_bytes(GRAPHS.read_bytes()).architecture == architecture_of(tiny_config())


def test_graphs_become_bytes_and_back() -> None:
    graphs = Graphs.from_bytes(SHIPPED.read_bytes())
    assert Graphs.from_bytes(graphs.to_bytes()) == graphs


def test_a_damaged_graph_raises(platform: Platform) -> None:
    weights = stored(bundled(), platform.artifacts)
    graphs = Graphs.from_bytes(SHIPPED.read_bytes())
    broken = replace(graphs.towers[Tower.IMAGE], onnx=b"no graph")
    damaged = replace(graphs, towers={**graphs.towers, Tower.IMAGE: broken})
    with pytest.raises(Exception, match=r"(?i)protobuf"):
        open_by(Engine.ONNX, weights, damaged, platform.artifacts, threads=1)
