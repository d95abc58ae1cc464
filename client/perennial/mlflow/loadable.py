"""A version as a model that `mlflow.pyfunc.load_model` loads and `mlflow models serve` serves.

It has the image tower as an ONNX export, which was compared with the version, the vectors of the
classes that the version has learned, by its own prompt, and a copy of the package `served`.
"""

import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

import httpx
import yaml
from mlflow.models import Model

from perennial.client import Client
from perennial.errors import ServiceError
from perennial.rules.recipes.fields import PromptTemplate
from perennial.rules.recipes.rules import class_texts
from perennial.types import ExportFormat, VersionSummary

PASSED = "passed"
FORMAT: ExportFormat = "onnx"
TEXTS_AT_ONCE = 2000  # of 2,048 that a request may have
SERVED, COPY = "perennial.mlflow.served", "perennial_served"
REQUIREMENTS = ("mlflow>=3.17,<4", "numpy>=2,<3", "onnxruntime>=1.23,<2", "pillow>=11")
SIGNATURE = {
    "inputs": json.dumps([{"name": "image", "type": "any", "required": True}]),
    "outputs": None,
    "params": json.dumps([{"name": "top_k", "type": "long", "default": 5, "shape": None}]),
}
MLMODEL = "MLmodel"


def may_be_loaded(version: VersionSummary, aliases: Mapping[str, int]) -> bool:
    """Return whether a version is one to add: it may go live or an alias points at it.

    It must have learned classes, and be one that the service still exports.
    """
    chosen = version["verdict"] == PASSED or version["version"] in aliases.values()
    kept = version["collected_at"] is None and version["erasure"] is None
    return chosen and kept and bool(version["classes"])


def write_model(service: Client, version: VersionSummary, folder: Path) -> None:
    """Write the files of a version into an empty folder; its export is ordered unless it is there.

    Raises JobFailed if the export fails.
    """
    data, copy = folder / "model", folder / "code" / COPY
    data.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        packed = Path(temporary) / "export.tar"
        _require_export(service, version)
        service.exports.download(version["model"], version["version"], FORMAT, to=packed)
        _unpack(packed, data)
    (data / "classes.json").write_text(json.dumps(_classes(service, version)), "utf-8")
    _copy(files(SERVED), copy)
    (folder / "requirements.txt").write_text("\n".join(REQUIREMENTS) + "\n")
    environment = {
        "python": platform.python_version(),
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment))
    (folder / MLMODEL).write_text(yaml.safe_dump(_described()))


def _described() -> dict[str, object]:
    """Return what `MLmodel` says. MLflow's own writer of signatures would need pandas."""
    model = Model()
    model.add_flavor(
        "python_function",
        loader_module=f"{COPY}.loader",
        data="model",
        code="code",
        env={"virtualenv": "python_env.yaml"},
        python_version=platform.python_version(),
    )
    return {**model.to_dict(), "signature": SIGNATURE}


def _require_export(service: Client, version: VersionSummary) -> None:
    """Order the export of a version and wait for it, unless it is there."""
    place = version["model"], version["version"], FORMAT
    try:
        service.exports.get(*place)
    except ServiceError as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
        service.jobs.wait(service.exports.order(*place)["id"])


def _unpack(packed: Path, folder: Path) -> None:
    """Write the image tower and its description from an export; texts are not needed."""
    with tarfile.open(packed) as archive:
        for entry in archive:
            name = PurePosixPath(entry.name).name
            file = archive.extractfile(entry)
            if file is not None and name.startswith(("image.", "model.")):
                with (folder / name).open("wb") as out:
                    shutil.copyfileobj(file, out)


def _classes(service: Client, version: VersionSummary) -> dict[str, object]:
    """Return the classes that a version has learned, with their vectors, as JSON."""
    prompt = PromptTemplate(version["prompt"])
    texts = class_texts(tuple(version["classes"]), prompt)
    vectors: list[object] = []
    for first in range(0, len(texts.prompts), TEXTS_AT_ONCE):
        answer = service.embed(
            f"{version['model']}:{version['version']}",
            texts=texts.prompts[first : first + TEXTS_AT_ONCE],
            encoding_format="base64",
            expect_digest=version["digest"],
        )
        vectors += [one["embedding"] for one in answer["data"]]
    known = {name: version[name] for name in ("model", "version", "digest", "prompt")}
    return {**known, "classes": list(texts.classes), "vectors": vectors}


def _copy(package: Traversable, folder: Path) -> None:
    """Copy the modules of the package `served` under the name that models know it by."""
    folder.mkdir(parents=True)
    for entry in package.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            _copy(entry, folder / entry.name)
        elif entry.name.endswith(".py"):
            text = entry.read_text("utf-8").replace(SERVED, COPY)
            (folder / entry.name).write_text(text, "utf-8")
