"""The embedder on a real, minuscule CLIP, and on one whose vectors are turned."""

import numpy as np
import pytest
import torch
from safetensors.torch import load as read_tensors

from core.clip.inputs import read_image
from core.clip.model import load
from core.errors import AnswersNotFinite
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.recipes.fields import DEFAULT_PROMPT
from core.scoring.embedder import VersionEmbedder
from core.scoring.search import ORTHOGONAL
from core.values import Digest
from core.vectors.rules import SearchedSuite
from tests.support.learning.lessons import Watching, noise_image
from tests.support.learning.tiny_clip import stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


def version(artifacts: MemoryArtifacts, turned: torch.Tensor | None = None) -> Digest:
    """A minuscule CLIP, whose vectors of images and texts are perhaps turned by a matrix."""
    model = tiny_clip()
    if turned is not None:
        with torch.no_grad():
            model.network.visual.proj.copy_(model.network.visual.proj @ turned)
            model.network.text_projection.copy_(model.network.text_projection @ turned)
    return stored(model, artifacts).digest


def embedder(artifacts: MemoryArtifacts, batch: int = 3) -> VersionEmbedder:
    return VersionEmbedder(artifacts, device=torch.device("cpu"), threads=1, batch=batch)


def width() -> int:
    return int(tiny_clip().network.visual.proj.shape[1])


def test_parts_hold_the_vectors_of_their_images_whatever_the_other_parts(
    artifacts: MemoryArtifacts,
) -> None:
    digest = version(artifacts)
    entries = [noise_image(artifacts, seed, "bag") for seed in range(8)]
    parts = [entries[:4], entries[4:5], entries[5:]]
    watch = Watching()
    found = list(embedder(artifacts).embed(digest, parts, watch))
    assert found[1:] == list(embedder(artifacts).embed(digest, parts[1:], Watching()))
    vectors = np.frombuffer(b"".join(found), "<f4").reshape(8, -1)
    model = load(digest, artifacts).freeze()
    with torch.inference_mode():
        for entry, vector in zip(entries, vectors, strict=True):
            image = read_image(artifacts.get(entry.artifact))
            alone = model.encode_images(model.preprocess.evaluation_pixels(image)[None])[0]
            np.testing.assert_allclose(vector, alone.numpy(), atol=1e-6)
    assert [step for phase, step, _ in watch.steps if phase == "embedding"] == [3, 4, 5, 8]
    assert not torch.is_inference_mode_enabled()


def test_an_index_of_turned_vectors_is_useless_and_the_bridge_restores_it(
    artifacts: MemoryArtifacts,
) -> None:
    torch.manual_seed(1)
    turned = torch.linalg.qr(torch.randn(width(), width())).Q
    old, new = version(artifacts), version(artifacts, turned)
    fitted = tuple(noise_image(artifacts, seed, f"thing {seed}") for seed in range(20))
    tested = tuple(noise_image(artifacts, seed, f"thing {seed}") for seed in range(20, 50))
    classes = tuple(entry.class_name for entry in tested[:15])
    suites = [
        SearchedSuite(
            name="captions",
            validation=RetrievalQuery(entries=fitted),
            test=RetrievalQuery(entries=tested),
        ),
        # Images of the one suite's validation part that the other one tests are not fitted on.
        SearchedSuite(
            name="things",
            validation=ClassQuery(entries=tested[:5], classes=classes, prompt=DEFAULT_PROMPT),
            test=ClassQuery(entries=tested[:15], classes=classes, prompt=DEFAULT_PROMPT),
        ),
    ]
    steps = Watching()
    found = embedder(artifacts).compare(old, new, suites, steps)
    assert steps.steps.count(("searching", 0, 2)) > 1  # each block renews the lease
    assert (found.bridge.kind, found.bridge.images) == (ORTHOGONAL, 20)
    tensors = read_tensors(found.bridge.file)
    weight = tensors["weight"]
    torch.testing.assert_close(weight @ weight.T, torch.eye(width()))
    assert not tensors["bias"].any()
    assert [(one.suite, len(one.raw)) for one in found.searches] == [
        ("captions", 30),
        ("things", 15),
    ]
    captions = found.searches[0]
    assert captions.bridged == captions.reembedded != captions.raw
    assert [one.bridged_cosine for one in found.vectors] == pytest.approx([1.0, 1.0])
    assert found.vectors[0].cosine < 0.9
    captioned, things = found.maps
    assert [len(one.images) for one in found.maps] == [30, 15]
    assert captioned.images[0].class_name is None
    assert [one.class_name for one in things.images] == list(classes)
    assert all(one.before != one.now for one in captioned.images)


def test_vectors_that_are_no_numbers_are_refused(artifacts: MemoryArtifacts) -> None:
    broken = version(artifacts, torch.full((width(), width()), float("nan")))
    entries = tuple(noise_image(artifacts, seed, "bag") for seed in range(4))
    suite = SearchedSuite(
        name="bags",
        validation=RetrievalQuery(entries=entries),
        test=RetrievalQuery(entries=entries),
    )
    with pytest.raises(AnswersNotFinite):
        embedder(artifacts).compare(version(artifacts), broken, [suite], Watching())
    with pytest.raises(AnswersNotFinite):
        list(embedder(artifacts).embed(broken, [entries], Watching()))
