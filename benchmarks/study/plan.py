"""The plan of a study: its images, measures, recipes and seeds."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from core.errors import RecipeInvalid
from core.learning.methods import LearningMethod, MakeMethod
from core.recipes.fields import LossTerm, Precision
from core.recipes.rules import Recipe

# The configuration of one run: a recipe, or a baseline in place of its method.


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A recipe with its seed; `compared` is one of benchmarks/baselines, or empty."""

    recipe: Recipe
    compared: str = ""

    @property
    def make_method(self) -> MakeMethod:
        """The factory of the method."""
        return _baselines()[self.compared].make if self.compared else LearningMethod

    @property
    def reads_reference(self) -> bool:
        """True if the study's reference set is part of the training spec."""
        return (
            _baselines()[self.compared].remembers
            if self.compared
            else LossTerm.REFERENCE in self.recipe.terms
        )

    @property
    def chooses(self) -> bool:
        """True if training chooses by validation parts."""
        return not self.compared and self.recipe.mixing_choice.uses_validation

    def facts(self) -> dict[str, Any]:
        """Return what identifies the run configuration, as JSON."""
        named = {"compared": self.compared} if self.compared else {}
        return {"recipe": self.recipe.to_json(), **named}


def run_config_of(values: dict[str, Any], compared: str) -> RunConfig:
    """Make a run configuration from a row's values, which override the baseline's.

    Raises RecipeInvalid.

    Runs are compared across machines, so precision `auto` is invalid and the default is fp32.
    """
    defaults = dict(_baselines()[compared].recipe) if compared else {}
    recipe = Recipe.from_json({"precision": Precision.FP32, **defaults, **values})
    if recipe.precision is Precision.AUTO:
        raise RecipeInvalid(
            "A study compares runs, so precision must be fp32, bf16 or fp16 and not 'auto'.",
            pointer="/recipe/precision",
        )
    return RunConfig(recipe=recipe, compared=compared)


def is_baseline(name: str) -> bool:
    """Return whether benchmarks/baselines has a baseline of this name."""
    return name in _baselines()


def _baselines() -> Any:
    from benchmarks.baselines import BASELINES  # imported on demand: few studies use them

    return BASELINES


REST = "rest"  # all classes of a folder but the target's

Grid = Mapping[str, Sequence[Any]]  # the values to try, by field of the recipe


class PlanInvalid(Exception):
    """The study cannot be run as declared."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one split of a folder, and the source of their texts."""

    name: str
    data: str  # a folder, or the name of a folder or zip below --data
    split: str
    text: str = "folder"  # or a field of captions.jsonl: "cls", "caption"
    classes: tuple[str, ...] | str = ()  # empty: all; "rest": all but the target's
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)  # class: its folders
    per_class: int = 0  # maximum of each class, or of each folder of a group; 0: all
    images: int = 0  # maximum in total, evenly spaced; 0: all

    @classmethod
    def of(cls, value: Mapping[str, Any], **defaults: str) -> Self:
        """Make an image set from a table of a plan. Raises PlanInvalid."""
        given: dict[str, Any] = {**defaults, **value}
        if isinstance(given.get("classes"), list):
            given["classes"] = tuple(given["classes"])
        if given.get("groups") and (
            given.get("classes") or given.get("text", "folder") != "folder"
        ):
            raise PlanInvalid(f"image set {given.get('data')}: groups are of folders, not classes")
        try:
            return cls(**{"name": Path(given.get("data", "")).name, **given})
        except TypeError as error:
            raise PlanInvalid(f"image set {given}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table: a name and a recipe without its seed."""

    name: str
    recipe: Mapping[str, Any]
    compared: str = ""  # one of benchmarks/baselines in place of the recipe's method

    def seeded(self, seed: int) -> RunConfig:
        """Return the configuration of the run with a seed. Raises RecipeInvalid."""
        return run_config_of({**self.recipe, "seed": seed}, self.compared)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything except the machine that decides a study's numbers."""

    name: str
    train: ImageSet
    test: ImageSet
    retained: tuple[ImageSet, ...]
    rows: tuple[Row, ...]  # none: those of the base's default recipe
    seeds: tuple[int, ...] = (0,)
    sessions: int = 1
    base: str = "bundled"
    prompt: str = ""  # empty: the base's own
    retrieval: ImageSet | None = None
    reference: ImageSet | None = None
    against: str = "ft"  # the row that the others are compared with
    tuned: Path | None = None  # values found by `tune`, by row
    grids: Mapping[str, Sequence[Grid]] = field(default_factory=dict)  # by row
    tuning_seeds: tuple[int, ...] = ()
    criteria: Mapping[str, str] = field(default_factory=dict)  # by row; a_acc where none is given

    def chosen(self, names: Sequence[str]) -> tuple[Row, ...]:
        """Return the named rows, or all if none is named. Raises PlanInvalid."""
        known = {row.name: row for row in self.rows}
        if unknown := [name for name in names if name not in known]:
            raise PlanInvalid(f"no row {unknown[0]!r}; there are: {', '.join(known)}")
        return tuple(known[name] for name in names) if names else self.rows

    def cut(self, per_class: int) -> "Plan":
        """Return the same study on at most `per_class` training images of each class."""
        return replace(
            self,
            name=f"{self.name}-{per_class}",
            train=replace(self.train, per_class=per_class),
        )


def read(path: Path | None, changes: Mapping[str, Any]) -> Plan:
    """Read a plan from a TOML file and replace top-level values. Raises PlanInvalid."""
    declared: dict[str, Any] = {}
    folder = Path()
    if path is not None:
        folder = path.parent
        try:
            declared = {"name": path.stem, **tomllib.loads(path.read_text())}
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise PlanInvalid(f"{path}: {error}") from error
    return parse({**declared, **changes}, folder)


def parse(declared: Mapping[str, Any], folder: Path = Path()) -> Plan:
    """Make a plan from its tables; the file `tuned` is relative to `folder`.

    Raises PlanInvalid, and RecipeInvalid where a row's recipe is invalid.
    """
    given = dict(declared)
    try:
        target = dict(given.pop("target"))
        train, test = target.pop("train", "train"), target.pop("test", "test")
        per_class, test_images = target.pop("per_class", 0), target.pop("test_images", 0)
        rows, common = given.pop("rows", []), given.pop("recipe", {})
    except KeyError as error:
        raise PlanInvalid(f"the plan has no {error.args[0]!r}") from None
    tune = given.pop("tune", {})
    tuned = folder / given.pop("tuned") if "tuned" in given else None
    values = json.loads(tuned.read_bytes()) if tuned and tuned.is_file() else {}
    captioned = {
        name: ImageSet.of(given.pop(name), text="caption")
        for name in ("retrieval", "reference")
        if name in given
    }
    try:
        plan = Plan(
            train=ImageSet.of({**target, "split": train, "per_class": per_class}),
            test=ImageSet.of({**target, "split": test, "images": test_images}),
            retained=tuple(ImageSet.of(table) for table in given.pop("retained", [])),
            rows=tuple(_row(row, common, values) for row in rows),
            seeds=tuple(given.pop("seeds", [0])),
            tuned=tuned,
            grids={row: _grids(given) for row, given in tune.get("grid", {}).items()},
            tuning_seeds=tuple(tune.get("seeds", [])),
            criteria=tune.get("criterion", {}),
            retrieval=captioned.get("retrieval"),
            reference=captioned.get("reference"),
            **given,
        )
    except TypeError as error:
        raise PlanInvalid(f"the plan does not read: {error}") from None
    _require_sound(plan)
    return plan


def _grids(given: Grid | Sequence[Grid]) -> Sequence[Grid]:
    return [given] if isinstance(given, Mapping) else given


def _row(row: Mapping[str, Any], common: Mapping[str, Any], tuned: Mapping[str, Any]) -> Row:
    if set(row) - {"name", "recipe", "compared", "tuned_as"} or "name" not in row:
        raise PlanInvalid(
            f"a row has a name, a recipe, perhaps compared and tuned_as; not {dict(row)}"
        )
    compared = row.get("compared", "")
    if compared and not is_baseline(compared):
        raise PlanInvalid(f"benchmarks/baselines has no {compared!r}")
    found = tuned.get(row.get("tuned_as", row["name"]), {}).get("values", {})
    recipe = {**common, **found, **row.get("recipe", {})}
    return Row(name=row["name"], recipe=recipe, compared=compared)


def _require_sound(plan: Plan) -> None:
    names = [row.name for row in plan.rows]
    measures = [measure.name for measure in plan.retained]
    for kind, found in (("row", names), ("retained measure", measures)):
        if len(set(found)) < len(found):
            raise PlanInvalid(f"two of a {kind}'s names are equal: {', '.join(found)}")
    if plan.name in {"", ".."} or Path(plan.name).name != plan.name:
        raise PlanInvalid(f"a study's name names its folder: {plan.name!r} does not")
    if not plan.seeds:
        raise PlanInvalid("a study has at least one seed")
    if unknown := set(plan.criteria.values()) - {"ut_acc", "retained", "a_acc"}:
        raise PlanInvalid(f"rows are tuned by ut_acc, retained or a_acc, not {min(unknown)!r}")
    for row in plan.rows:
        row.seeded(plan.seeds[0])
