"""Bundles that are not what was signed: nothing is believed, and a tensor is kept at the end."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.archives.reader import ArchiveReader
from core.bundles.import_version import require_alike
from core.bundles.read import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ReadBundle,
    has_first_file,
    read_bundle,
    read_signed,
)
from core.bundles.rules import ENVELOPE_FILE, predicate_of
from core.bundles.signing import Signatures
from core.bundles.write import complete_bundle
from core.datasets.manifests import validation_of
from core.errors import ArchiveUnsafe, BundleInvalid, BundleNotTrusted, PerennialError
from core.exports.folders import write_folder
from core.recipes.rules import Recipe
from core.registry.versions import TensorEntry, Weights
from core.settings import Settings
from core.values import Digest, canonical_json, sha256
from tests.support.api.seeds import some_weights
from tests.support.bundles import OURS, THEIRS, Files, packed, signed_again
from tests.support.factories import a_job, a_model, a_policy, a_suite, a_version, digest
from tests.support.memory_artifacts import MemoryArtifacts

READER: Any = ArchiveReader(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]

TRUST = Signatures("", {"lab": THEIRS.public})

QUIET: Any = SimpleNamespace(moved=lambda _: None)

SHOES, TOLD, PAIRS = (
    {"name": name, "version": 1, "manifest": digest(name)} for name in ("shoes", "told", "pairs")
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a bundle of a version that an update made, in their order."""
    return made(tmp_path_factory.mktemp("bundle"), lambda weights, _: weights)


def made(folder: Path, change: Callable[[Weights, MemoryArtifacts], Weights]) -> Files:
    artifacts = MemoryArtifacts()
    platform: Any = SimpleNamespace(artifacts=artifacts)
    policy = a_policy()
    model = a_model(policy, name="demo")
    root_weights = some_weights(platform, 1)
    weights = change(some_weights(platform, 2), artifacts)
    root = a_version(a_job(model), 1, digest=root_weights.digest)
    version = a_version(
        a_job(model),
        2,
        parent=1,
        digest=weights.digest,
        recipe=Recipe(),
        update_classes=("boot",),
        classes=("boot",),
        report=artifacts.put(b'{"verdict": "passed"}'),
        feature_statistics={"boot": artifacts.put(b"features")},
    )
    learned: dict[int, Any] = {
        1: {"dataset": None, "captions": None, "reference": None, "validation": []},
        2: {
            "dataset": SHOES,
            "captions": TOLD,
            "reference": PAIRS,
            "validation": [SHOES["manifest"]],
        },
    }
    write_folder(artifacts, version, folder)
    predicate = predicate_of(
        model, (root, version), images=learned, suites=[a_suite()], policy=policy
    )
    complete_bundle(platform, Signatures(THEIRS.private, {}), predicate, folder, QUIET)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read(tar: bytes, kept: MemoryArtifacts | None = None) -> ReadBundle:
    keep: Callable[[bytes], Digest] = sha256 if kept is None else kept.put
    return read_bundle(READER, TRUST, Settings(), iter([tar]), len(tar), keep)


def test_a_bundle_is_read_and_its_tensors_are_kept(files: Files) -> None:
    kept = MemoryArtifacts()
    bundle = read(packed(files), kept)
    version = bundle.signed.version
    assert (bundle.signed.signer.name, version.number, version.model) == ("lab", 2, "demo")
    assert bundle.weights.digest == version.digest
    assert all(kept.has(tensor.digest) for tensor in bundle.weights.tensors)
    assert kept.has(version.feature_statistics["boot"])
    assert bundle.reports == {2: {"verdict": "passed"}}
    assert version.taught_after(version.ancestors[0]) == ("boot",)
    assert (version.recipe, version.classes) == (Recipe(), ("boot",))
    assert version.learned_from == (
        *version.ancestors,
        digest("shoes"),
        digest("told"),
        digest("pairs"),
        validation_of(digest("shoes")),
    )


def test_its_first_file_is_enough_to_know_who_signed_it(files: Files) -> None:
    tar = packed(files)
    enough = next(at for at in range(0, len(tar), 256) if has_first_file(tar[:at]))
    assert CONFIG_FILE.encode() not in tar[:enough]
    signed = read_signed(READER, TRUST, Settings(), iter([tar[:enough]]), enough)
    assert signed.signer.name == "lab"
    signed.require_digest(f"sha256:{signed.version.digest}")
    with pytest.raises(BundleInvalid, match="another version"):
        signed.require_digest("0" * 64)
    assert has_first_file(b"x" * 512)  # no tar: to be refused now


def with_tokenizer(weights: Weights, artifacts: MemoryArtifacts, data: bytes = b"{}") -> Weights:
    held = TensorEntry(
        name="tokenizer", dtype="U8", shape=(len(data),), digest=artifacts.put(data), size=len(data)
    )
    described = {"tokenizer_config": {"pad_token": "<pad>"}}
    found = replace(weights, config=weights.config | described, tensors=(*weights.tensors, held))
    artifacts.put(found.to_bytes())
    return found


def test_a_version_comes_with_its_own_tokenizer(tmp_path: Path) -> None:
    files, kept = made(tmp_path, with_tokenizer), MemoryArtifacts()
    assert files["tokenizer.json"] == b"{}"
    assert b"tokenizer" not in files[WEIGHTS_FILE]
    bundle = read(packed(files), kept)
    assert bundle.weights.digest == bundle.signed.version.digest
    assert kept.get(sha256(b"{}")) == b"{}"
    with pytest.raises(BundleInvalid, match="not those of the version"):
        read(packed(signed_again(files | {"tokenizer.json": b"[]"})))


def test_a_version_with_another_tokenizer_than_its_parents_is_refused() -> None:
    """Nothing has checked that one, though who signed it is trusted."""
    artifacts = MemoryArtifacts()
    platform: Any = SimpleNamespace(artifacts=artifacts)
    parent, child = (with_tokenizer(some_weights(platform, n), artifacts) for n in (1, 2))
    require_alike(child, parent)
    other = with_tokenizer(some_weights(platform, 2), artifacts, b"[]")
    for one in (other, some_weights(platform, 2)):
        with pytest.raises(BundleInvalid, match="another architecture"):
            require_alike(one, parent)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def without(files: Files, name: str) -> Files:
    return {one: data for one, data in files.items() if one != name}


def changed_config(files: Files) -> Files:
    config = json.loads(files[CONFIG_FILE]) | {"preprocess_cfg": {"mean": [0, 0, 0]}}
    return signed_again(files | {CONFIG_FILE: canonical_json(config)})


def of_statistics(files: Files) -> str:
    return next(name for name in files if name.startswith("statistics-"))


WRONG: dict[str, Callable[[Files], Files]] = {
    "another byte of the weights": lambda f: f | {WEIGHTS_FILE: flipped(f[WEIGHTS_FILE])},
    "another report": lambda f: f | {"report-2.json": b'{"verdict": "failed"}'},
    "a file that was not signed": lambda f: f | {"run.sh": b"rm"},
    "a file that is missing": lambda f: without(f, CONFIG_FILE),
    "no envelope": lambda f: without(f, ENVELOPE_FILE),
    "an envelope that is not first": lambda f: (
        without(f, ENVELOPE_FILE) | {ENVELOPE_FILE: f[ENVELOPE_FILE]}
    ),
    "signed, but of another digest": changed_config,
    "signed, but the weights are cut off": lambda f: signed_again(
        f | {WEIGHTS_FILE: f[WEIGHTS_FILE][:-1]}
    ),
    "signed, but something follows the weights": lambda f: signed_again(
        f | {WEIGHTS_FILE: f[WEIGHTS_FILE] + b"\0"}
    ),
    "signed, but without statistics": lambda f: signed_again(without(f, of_statistics(f))),
    "signed, but without the report": lambda f: signed_again(without(f, "report-2.json")),
    "signed, but the report is no JSON": lambda f: signed_again(
        f | {"report-2.json": b"?"}, change=lambda p: p["line"][1].update(report=sha256(b"?"))
    ),
    "signed, but no line": lambda f: signed_again(f, change=lambda p: p.update(line=[])),
    "signed, but no digest": lambda f: signed_again(
        f, change=lambda p: p["line"][1].update(digest="../x")
    ),
    "signed, but a recipe of a later release": lambda f: signed_again(
        f, change=lambda p: p["line"][1].update(recipe={"method": "later"})
    ),
    "signed, but what its mixing weight was chosen by is no digest": lambda f: signed_again(
        f, change=lambda p: p["line"][1].update(validation=["../x"])
    ),
    "signed, but a class without a name": lambda f: signed_again(
        f, change=lambda p: p["line"][1].update(classes=[" "])
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_as_it_was_signed_is_refused(files: Files, what: str) -> None:
    with pytest.raises(BundleInvalid):
        read(packed(WRONG[what](files)))


def test_a_signature_of_another_key_is_refused_before_anything_else_is_read(files: Files) -> None:
    ours = signed_again(files, key=OURS) | {"../../etc/passwd": b""}
    with pytest.raises(BundleNotTrusted):
        read(packed(ours))


def with_entry(files: Files, name: str, data: bytes = b"", **fields: Any) -> bytes:
    """A bundle with one more entry at its end."""
    out = io.BytesIO(packed(files))
    with tarfile.open(fileobj=out, mode="a") as archive:
        entry = tarfile.TarInfo(f"demo-2/{name}")
        entry.size = len(data)
        for field, value in fields.items():
            setattr(entry, field, value)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("tar", "error"),
    [
        (lambda f: with_entry(f, "link", type=tarfile.SYMTYPE, linkname="/etc"), ArchiveUnsafe),
        (lambda f: with_entry(f, CONFIG_FILE, f[CONFIG_FILE]), BundleInvalid),
        (lambda files: packed(files | {"../x": b""}), ArchiveUnsafe),
        (lambda files: packed({"a/b": b""} | files), BundleInvalid),
        (lambda files: packed(files | {ENVELOPE_FILE: files[ENVELOPE_FILE]}) * 2, None),
        (lambda _: b"", BundleInvalid),
        (lambda _: b"PK\3\4" + b"x" * 2000, BundleInvalid),
    ],
)
def test_a_tar_that_is_no_bundle(
    files: Files, tar: Callable[[Files], bytes], error: type[PerennialError] | None
) -> None:
    if error is None:  # what follows the end of a tar is not part of it
        assert read(tar(files)).signed.version.number == 2
        return
    with pytest.raises(error):
        read(tar(files))
