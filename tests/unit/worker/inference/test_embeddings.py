"""Vectors over the API, by a real inference process, beside open_clip's own."""

import base64
import io
from collections.abc import Iterator
from contextlib import ExitStack

import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor

from api.server import listen
from core.bootstrap import migrate, opened
from core.gate.policies import ensure_default_policy
from core.settings import Settings
from tests.support.api.image_files import photograph
from tests.support.api.seeds import a_root
from tests.support.api.served import Served, serving
from tests.support.api.service import KEY, settings_of
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.servers.answering import in_thread
from tests.unit.worker.inference.conftest import weights_of
from worker.inference.server import make_app, make_server

TEXTS = ["a photo of a boot.", "größer 🥾", "many words " * 30, "data: the new oil"]

# Values are at most 1; sums in another order differ by some hundred roundings of 2^-24.
BOUND = 100 * 2**-24

INFERENCE_KEY = "pk_that-inference-knows-of"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a service whose model `demo` is minuscule."""
    found = settings_of(tmp_path_factory.mktemp("home"), inference_key=INFERENCE_KEY)
    migrate(found)
    with opened(found) as platform:
        ensure_default_policy(platform)
        a_root(platform, weights=weights_of(platform, 1))
    return found


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[Served]:
    """The service, with an inference process of its own."""
    with ExitStack() as stack:
        bound = stack.enter_context(listen("127.0.0.1", 0))
        platform = stack.enter_context(opened(settings))
        server = make_server(make_app(platform), settings)
        url = stack.enter_context(in_thread(server, bound))
        yield stack.enter_context(serving(settings.model_copy(update={"inference_url": url})))


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    return [photograph(seed, quality=90, side=20 + 9 * seed) for seed in range(1, 4)]


def open_clips_own(images: list[bytes]) -> tuple[Tensor, Tensor]:
    """Vectors (images, width) and (texts, width) by open_clip's own transform and tokenizer."""
    clip = tiny_clip(1)
    preprocessing = clip.config["preprocess_cfg"]
    transform = open_clip.image_transform(16, is_train=False, **preprocessing)
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(io.BytesIO(data))) for data in images])
        return (
            clip.network.encode_image(pixels, normalize=True),
            clip.network.encode_text(tokenizer(TEXTS), normalize=True),
        )


def test_vectors_over_the_api_are_open_clips_own(served: Served, images: list[bytes]) -> None:
    of_images, of_texts = open_clips_own(images)
    files = [("images", (f"{place}.jpg", data)) for place, data in enumerate(images)]
    path = "/v1/models/demo/embed"
    for sent, own in (({"files": files}, of_images), ({"json": {"texts": TEXTS}}, of_texts)):
        answer = served.client.request("POST", path, **sent).json()
        given = torch.tensor([row["embedding"] for row in answer["data"]])
        assert answer["width"] == 16
        torch.testing.assert_close(given, own, atol=BOUND, rtol=0)


def test_openais_client_gets_the_same_as_floats_and_as_base64(
    served: Served, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import openai  # takes a tenth of the time in which all tests are loaded

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    urls = [f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in images]
    own = torch.cat(open_clips_own(images))
    order = [3, 0, 4, 5, 2, 1, 6]  # texts and images by turns
    mixed = [(urls + TEXTS)[place] for place in order]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as client:
        as_base64 = client.embeddings.create(model="demo", input=mixed)
        as_floats = client.embeddings.create(model="demo", input=mixed, encoding_format="float")
        again = client.embeddings.create(model=as_base64.model, input=TEXTS[0])
    assert again.model == as_base64.model
    tokens = open_clip.SimpleTokenizer(context_length=16)(TEXTS)
    read = [row.index(49407) + 1 for row in tokens.tolist()]
    assert as_base64.usage.prompt_tokens == as_base64.usage.total_tokens == sum(read)
    assert again.usage.prompt_tokens == read[0]
    for found in (as_base64, as_floats):
        given = torch.tensor([one.embedding for one in found.data])
        torch.testing.assert_close(given, own[order], atol=BOUND, rtol=0)
