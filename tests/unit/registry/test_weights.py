"""A version's list of tensors: its bytes are what its digest is of."""

import hashlib

from core.registry.versions import TensorEntry, Weights
from core.values import Digest

BIAS = TensorEntry(name="text.bias", dtype="I64", shape=(), digest=Digest("bb"), size=8)

PROJ = TensorEntry(name="visual.proj", dtype="F32", shape=(2, 3), digest=Digest("aa"), size=24)

SPELLED = (
    b'{"config":{"model_cfg":{"embed_dim":4}},'
    b'"tensors":[["text.bias","I64",[],"bb",8],["visual.proj","F32",[2,3],"aa",24]]}'
)


def weights(*tensors: TensorEntry) -> Weights:
    return Weights(config={"model_cfg": {"embed_dim": 4}}, tensors=tensors)


def test_list_is_spelled_in_one_way_whatever_the_order_of_the_tensors() -> None:
    assert weights(BIAS, PROJ).to_bytes() == weights(PROJ, BIAS).to_bytes() == SPELLED
    assert weights(PROJ, BIAS).digest == hashlib.sha256(SPELLED).hexdigest()


def test_list_is_read_as_it_was_spelled() -> None:
    assert Weights.from_bytes(SPELLED) == weights(BIAS, PROJ)


def test_size_is_that_of_all_tensors() -> None:
    assert (weights(PROJ, BIAS).size, weights().size) == (32, 0)
