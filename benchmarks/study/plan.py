"""The plan of a study: its images, measures, recipes and seeds."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from core.errors import RecipeInvalid
from core.learning.methods import LearningMethod, MakeMethod
from core.learning.vocabulary import Columns
from core.recipes.fields import LossTerm, Precision
from core.recipes.rules import Recipe

if TYPE_CHECKING:
    from benchmarks.baselines.baseline import Baseline

# The configuration of one run: a recipe, or a baseline in place of its method.


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A recipe with its seed; `compared` is one of the methods in `compared_methods`, or empty."""

    recipe: Recipe
    first: Recipe | None = None  # of the first session, if it has another
    compared: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)  # of the method compared
    share_of_steps: float = 1.0  # of those that the recipe's epochs have

    def of(self, session: int) -> "RunConfig":
        """Return the configuration of a session, counted from 0."""
        return self if session or self.first is None else replace(self, recipe=self.first)

    @property
    def make_method(self) -> MakeMethod:
        """The factory of the method."""
        if not self.compared:
            return partial(_shortened, LearningMethod, self.share_of_steps)
        make = partial(compared_methods()[self.compared].make, **self.options)
        return partial(_shortened, make, self.share_of_steps)

    @property
    def reads_reference(self) -> bool:
        """True if the study's reference set is part of the training spec."""
        return (
            compared_methods()[self.compared].remembers
            if self.compared
            else LossTerm.REFERENCE in self.recipe.terms
        )

    @property
    def chooses(self) -> bool:
        """True if training reads validation parts, as a rule to choose by them."""
        if self.compared:
            return compared_methods()[self.compared].validates
        return self.recipe.mixing_choice.uses_validation

    @property
    def named(self) -> str:
        """The retained measure whose class names training may read; empty: all of them."""
        return str(self.options.get("named", ""))

    def facts(self) -> dict[str, Any]:
        """Return what identifies the run configuration, as JSON."""
        named = {"compared": self.compared} if self.compared else {}
        chosen = {"options": dict(self.options)} if self.options else {}
        taken = {"share_of_steps": self.share_of_steps} if self.share_of_steps < 1 else {}
        begun = {"first": self.first.to_json()} if self.first else {}
        return {"recipe": self.recipe.to_json(), **begun, **named, **chosen, **taken}


def _shortened(make: MakeMethod, share: float, recipe: Recipe, columns: Columns) -> LearningMethod:
    method = make(recipe, columns)
    method.share_of_steps = share
    return method


def run_config_of(values: dict[str, Any], compared: str) -> RunConfig:
    """Make a run configuration from a row's values, which override the compared method's.

    Values named as the method's options are not the recipe's. Raises RecipeInvalid.

    Runs are compared across machines, so precision `auto` is invalid and the default is fp32.
    """
    method = compared_methods()[compared] if compared else None
    defaults: Mapping[str, Any] = method.recipe if method else {}
    options = {
        name: values.get(name, own) for name, own in (method.options if method else {}).items()
    }
    own = {name: value for name, value in values.items() if name not in options}
    recipe = Recipe.from_json({"precision": Precision.FP32, **defaults, **own})
    if recipe.precision is Precision.AUTO:
        raise RecipeInvalid(
            "A study compares runs, so precision must be fp32, bf16 or fp16 and not 'auto'.",
            pointer="/recipe/precision",
        )
    return RunConfig(recipe=recipe, compared=compared, options=options)


def compared_methods() -> Mapping[str, "Baseline"]:
    """Return the methods that exist for comparison alone, by name."""
    from benchmarks.baselines import BASELINES  # imported on demand: few studies use them
    from benchmarks.study.rows import ROWS

    return {**BASELINES, **ROWS}


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
    first: Mapping[str, Any] = field(default_factory=dict)  # changes of the first session's recipe
    compared: str = ""  # one of `compared_methods` in place of the recipe's method
    share_of_steps: float = 1.0  # of those that the recipe's epochs have

    def seeded(self, seed: int) -> RunConfig:
        """Return the configuration of the run with a seed. Raises RecipeInvalid."""
        values = {**self.recipe, "seed": seed}
        run_config = run_config_of(values, self.compared)
        first = (
            run_config_of({**values, **self.first}, self.compared).recipe if self.first else None
        )
        return replace(run_config, first=first, share_of_steps=self.share_of_steps)


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
    equal_to: str = ""  # the row whose compute the others have; empty: as many epochs as they say
    curve: tuple[str, ...] = ()  # the rows whose trade-off the others are measured from

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


OF_SETS = ("prompt", "target", "retained", "retrieval", "sessions")  # from the plan of a set


def read(path: Path | None, changes: Mapping[str, Any]) -> tuple[Plan, ...]:
    """Read a plan from a TOML file and replace top-level values.

    A file with `[sets.NAME]` tables is a plan for each set, which takes its images, sessions and
    the common recipe from the plan of that name beside it, or from `plan`, and the values of its
    rows from `tuned`; `target` is another folder of new classes, in so many `sessions`. Raises
    PlanInvalid.
    """
    if path is None:
        return (parse(changes),)
    declared = _declared(path)
    sets = declared.pop("sets", None)
    if sets is None:
        return (parse({**declared, **changes}, path.parent),)
    return tuple(
        parse(_of_set(name, given, {**declared, **changes}, path.parent), path.parent)
        for name, given in sets.items()
    )


def _declared(path: Path) -> dict[str, Any]:
    try:
        return {"name": path.stem, **tomllib.loads(path.read_text())}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PlanInvalid(f"{path}: {error}") from error


def _of_set(
    name: str, given: Mapping[str, Any], declared: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    images = _declared(folder / f"{given.get('plan', name)}.toml")
    found = {
        **{key: images[key] for key in OF_SETS if key in images},
        **declared,
        "recipe": {**images.get("recipe", {}), **declared.get("recipe", {})},
        "name": f"{declared['name']}-{name}",
    }
    if "target" in given:
        found["target"] = {**found["target"], "data": given["target"]}
    return {**found, **{key: given[key] for key in ("sessions", "tuned") if key in given}}


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
            curve=tuple(given.pop("curve", [])),
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
    if set(row) - {"name", "recipe", "first", "compared", "tuned_as"} or "name" not in row:
        raise PlanInvalid(
            f"a row has a name, a recipe, perhaps first, compared and tuned_as; not {dict(row)}"
        )
    compared = row.get("compared", "")
    if compared and compared not in compared_methods():
        raise PlanInvalid(f"no method to compare with is named {compared!r}")
    found = tuned.get(row.get("tuned_as", row["name"]), {}).get("values", {})
    recipe = {**common, **found, **row.get("recipe", {})}
    return Row(name=row["name"], recipe=recipe, first=row.get("first", {}), compared=compared)


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
    named = {plan.equal_to, *plan.curve} - {""}
    if unknown := named - set(names):
        raise PlanInvalid(f"no row {min(unknown)!r}; there are: {', '.join(names)}")
    if unknown := set(plan.criteria.values()) - {"ut_acc", "retained", "a_acc"}:
        raise PlanInvalid(f"rows are tuned by ut_acc, retained or a_acc, not {min(unknown)!r}")
    for row in plan.rows:
        row.seeded(plan.seeds[0])
