"""Check the base of a model as far as that is possible without loading it."""

import json
import re
from functools import cache
from pathlib import Path

from core.artifacts.store import Artifacts
from core.bases.folders import (
    FOLDER_PREFIX,
    named_file,
    read_config,
    read_text_config,
    require_weights_name,
    root_of,
    weights_files,
)
from core.errors import (
    ArtifactGone,
    ArtifactMissing,
    BaseUnknown,
    ModelNotTrainable,
    WeightsFormat,
)
from core.recipes.rules import Recipe
from core.registry.architecture import require_recipe_fits, require_tokenizer, require_trainable
from core.registry.versions import Weights
from core.settings import Settings
from core.values import Digest, Json

BUNDLED = "bundled"
POINTER = "/base"
CATALOGUE = Path(__file__).with_name("open_clip.json")
_PRETRAINED = re.compile(r"[\w.-]+:[\w.-]+", re.ASCII)


def require_known_base(settings: Settings, base: str) -> None:
    """Raise BaseUnknown, ModelNotTrainable or WeightsFormat for a base that makes no model.

    A base is the bundled model, a pair of names that open_clip lists, a folder in a root folder,
    or an architecture with a file there. Only the worker can check whether weights load and match
    their config. It also checks a root folder that this process cannot see because it is on
    another machine.
    """
    try:
        _require_known(settings, base)
    except (BaseUnknown, ModelNotTrainable, WeightsFormat) as error:
        error.pointer = POINTER
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise BaseUnknown("The base's folder cannot be opened.", pointer=POINTER) from error


def _require_known(settings: Settings, base: str) -> None:
    if base == BUNDLED:
        return
    if _PRETRAINED.fullmatch(base) and not base.startswith(FOLDER_PREFIX):
        _require_listed(*base.split(":"))
    elif named := named_file(base):
        _require_file(settings, *named)
    else:
        _require_folder(settings, Path(base.removeprefix(FOLDER_PREFIX)))


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
    listed = _require_architecture(name)
    if weights.lower().replace("-", "_") not in listed:  # as open_clip reads a tag
        known = ", ".join(listed) or "none"
        raise BaseUnknown(f"open_clip has no weights {weights!r} of {name}; it has: {known}.")


def _require_architecture(name: str) -> list[str]:
    """Return the weights that open_clip lists for an architecture that can be trained."""
    listed = _catalogue().get(name)
    if listed is None:
        raise BaseUnknown(f"open_clip has no model named {name!r}.")
    if reason := listed["obstacle"]:
        raise ModelNotTrainable(reason)
    found: list[str] = listed["weights"]
    return found


@cache
def _catalogue() -> Json:
    """Return what `core.clip.catalogue` found in open_clip, which the API does not have."""
    found: Json = json.loads(CATALOGUE.read_bytes())
    return found


def _require_folder(settings: Settings, folder: Path) -> None:
    if not root_of(folder, settings.root_folders).is_dir():
        return  # on another machine
    folder = folder.resolve()
    config = read_config(folder)
    require_trainable(config["model_cfg"])
    read_text_config(folder, config["model_cfg"])
    names = [one.name for one in folder.iterdir()]
    require_tokenizer(config["model_cfg"], names)
    weights_files(names)


def _require_file(settings: Settings, name: str, path: Path) -> None:
    _require_architecture(name)
    root = root_of(path, settings.root_folders)
    require_weights_name(path.name)
    if root.is_dir() and not path.is_file():
        raise BaseUnknown(f"There is no file {path.name!r} in {path.parent.name!r}.")
