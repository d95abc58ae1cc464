"""Check the base of a model as far as that is possible without loading it."""

import json
import re
from functools import cache
from pathlib import Path

from core.artifacts.store import Artifacts
from core.errors import ArtifactGone, ArtifactMissing, BaseUnknown, ModelNotTrainable
from core.recipes.rules import Recipe
from core.registry.architecture import require_recipe_fits, require_tokenizer, require_trainable
from core.registry.versions import Weights, weights_file
from core.settings import Settings
from core.values import Digest, Json

BUNDLED = "bundled"
FOLDER_PREFIX = "local-dir:"
POINTER = "/base"
CATALOGUE = Path(__file__).with_name("open_clip.json")
_PRETRAINED = re.compile(r"[\w.-]+:[\w.-]+", re.ASCII)


def require_known_base(settings: Settings, base: str) -> None:
    """Raise BaseUnknown, ModelNotTrainable or WeightsFormat for a base that makes no model.

    A base is the bundled model, a pair of names that open_clip lists, or a folder in a root
    folder. Only the worker can check whether weights load and match their config. It also checks
    a root folder that this process cannot see because it is on another machine.
    """
    if base == BUNDLED:
        return
    if _PRETRAINED.fullmatch(base) and not base.startswith(FOLDER_PREFIX):
        _require_listed(*base.split(":"))
        return
    try:
        _require_folder(settings, Path(base.removeprefix(FOLDER_PREFIX)))
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise BaseUnknown("The base's folder cannot be opened.", pointer=POINTER) from error


def require_trainable_version(artifacts: Artifacts, version: Digest, recipe: Recipe) -> None:
    """Raise ModelNotTrainable if no update with this recipe can start from a version.

    Raises ArtifactGone if its weights have been deleted.
    """
    try:
        weights = Weights.from_bytes(artifacts.get(version))
    except ArtifactMissing as error:
        raise ArtifactGone from error
    require_trainable(weights.config["model_cfg"], pointer="/model")
    require_recipe_fits(weights.config, recipe)


def _require_listed(name: str, weights: str) -> None:
    listed = _catalogue().get(name)
    if listed is None:
        raise BaseUnknown(f"open_clip has no model named {name!r}.", pointer=POINTER)
    if reason := listed["obstacle"]:
        raise ModelNotTrainable(reason, pointer=POINTER)
    if weights.lower().replace("-", "_") not in listed["weights"]:  # as open_clip reads a tag
        known = ", ".join(listed["weights"]) or "none"
        raise BaseUnknown(
            f"open_clip has no weights {weights!r} of {name}; it has: {known}.", pointer=POINTER
        )


@cache
def _catalogue() -> Json:
    """Return what `core.clip.catalogue` found in open_clip, which the API does not have."""
    found: Json = json.loads(CATALOGUE.read_bytes())
    return found


def _require_folder(settings: Settings, named: Path) -> None:
    folder = named.resolve()
    roots = (root.resolve() for root in settings.root_folders)
    root = next((root for root in roots if folder.is_relative_to(root)), None)
    if root is None:
        raise BaseUnknown(pointer=POINTER)
    if root.is_dir():
        _require_trainable_folder(folder)


def _require_trainable_folder(folder: Path) -> None:
    path = folder / "open_clip_config.json"
    if not path.is_file():
        raise BaseUnknown(f"{folder.name!r} has no {path.name}.", pointer=POINTER)
    model_cfg = _read(path).get("model_cfg")
    if not isinstance(model_cfg, dict):
        raise BaseUnknown(f"{path.name} has no model_cfg.", pointer=POINTER)
    require_trainable(model_cfg, pointer=POINTER)
    names = [one.name for one in folder.iterdir()]
    require_tokenizer(model_cfg, names, pointer=POINTER)
    weights_file(names, pointer=POINTER)


def _read(path: Path) -> Json:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BaseUnknown(f"{path.name} cannot be read.", pointer=POINTER) from error
    if not isinstance(found, dict):
        raise BaseUnknown(f"{path.name} is not a JSON object.", pointer=POINTER)
    return found
