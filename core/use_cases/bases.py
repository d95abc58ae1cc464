"""Which bases a model may be made from, as far as one can tell without loading them."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

from core.domain.architecture import require_recipe_fits, require_trainable
from core.domain.recipe import Recipe
from core.domain.values import Digest, Json
from core.domain.version import Weights
from core.errors import ArtifactGone, ArtifactMissing, BaseUnknown
from core.ports import Artifacts
from core.settings import Settings

BUNDLED = "bundled"
FOLDER_PREFIX = "local-dir:"
POINTER = "/base"
_PRETRAINED = re.compile(r"[\w.-]+:[\w.-]+", re.ASCII)


def require_known_base(settings: Settings, base: str) -> None:
    """Raise BaseUnknown or ModelNotTrainable for a base that no model can be made from.

    A base is the bundled model, a pair of names that open_clip lists, or a folder of ours.
    Which weights go with a name, and whether a folder's fit its config, only the worker tells;
    so it does of a folder that this process does not see.
    """
    if base == BUNDLED:
        return
    if _PRETRAINED.fullmatch(base) and not base.startswith(FOLDER_PREFIX):
        _require_trainable_name(base.partition(":")[0])
        return
    folder = Path(base.removeprefix(FOLDER_PREFIX)).resolve()
    if not any(folder.is_relative_to(root.resolve()) for root in settings.root_folders):
        raise BaseUnknown(pointer=POINTER)
    _require_trainable_folder(folder)


def require_trainable_version(artifacts: Artifacts, version: Digest, recipe: Recipe) -> None:
    """Raise ModelNotTrainable if no update by this recipe can start from a version.

    Raises ArtifactGone if its weights are not there any more.
    """
    try:
        weights = Weights.from_bytes(artifacts.get(version))
    except ArtifactMissing as error:
        raise ArtifactGone from error
    require_trainable(weights.config["model_cfg"], pointer="/model")
    require_recipe_fits(weights.config, recipe)


def _require_trainable_name(name: str) -> None:
    # open_clip keeps a JSON file for every architecture. Finding its folder does not import it,
    # and with it torch, into this process.
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        return
    path = Path(spec.submodule_search_locations[0]) / "model_configs" / f"{name}.json"
    if not path.is_file():
        raise BaseUnknown(f"open_clip has no model named {name!r}.", pointer=POINTER)
    require_trainable(_read(path), pointer=POINTER)


def _require_trainable_folder(folder: Path) -> None:
    path = folder / "open_clip_config.json"
    if not path.is_file():
        return
    model_cfg = _read(path).get("model_cfg")
    if not isinstance(model_cfg, dict):
        raise BaseUnknown(f"{path.name} has no model_cfg.", pointer=POINTER)
    require_trainable(model_cfg, pointer=POINTER)


def _read(path: Path) -> Json:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BaseUnknown(f"{path.name} cannot be read.", pointer=POINTER) from error
    if not isinstance(found, dict):
        raise BaseUnknown(f"{path.name} is not a JSON object.", pointer=POINTER)
    return found
