"""Recipes: their refusals word by word, methods, choices and presets."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import RecipeInvalid
from core.recipes.fields import LabelSpace, LossTerm, Method, Precision, TeacherPolicy
from core.recipes.presets import COMPOSED, METHODS, PRESETS
from core.recipes.rules import Recipe

FIELDS = ", ".join(Recipe.__dataclass_fields__)

FILE: dict[str, Any] = {"vocabulary": "file"}


@pytest.mark.parametrize(
    ("fields", "message", "pointer"),
    [
        ({"epochs": 0}, "epochs must be a whole number, 1 to 1000.", "/recipe/epochs"),
        ({"epochs": 1001}, "epochs must be a whole number, 1 to 1000.", "/recipe/epochs"),
        ({"mixing": 1.5}, "mixing must be a number, 0 to 1.", "/recipe/mixing"),
        ({"epsilon": 0}, "epsilon must be a number, 1e-16 to 1.", "/recipe/epsilon"),
        (
            {"averaging_decay": 1},
            "averaging_decay must be a number, 0 to 0.999999.",
            "/recipe/averaging_decay",
        ),
        (
            {"method": "zscl", "part": "text"},
            "The term 'reference' distils the image tower, which part 'text' does not train.",
            "/recipe/part",
        ),
        (
            {"terms": ["vr", "ce"]},
            f"terms has no 'ce'; it may hold: {', '.join(LossTerm)}.",
            "/recipe/terms",
        ),
        ({"terms": ["vr", "vr"]}, "terms may name a term only once.", "/recipe/terms"),
        ({"terms": "vr"}, "terms must be a list of texts.", "/recipe/terms"),
        (
            {"method": "vrlwf", "exemplars": 500},
            "Exemplars and replayed features belong to classes learned before, which do not "
            "compete in label space 'session'. Choose 'seen' or 'open', or set exemplars and "
            "feature_replay to 0.",
            "/recipe/label_space",
        ),
        (
            {"method": "vrlwf_features", "part": "whole"},
            "Features can be replayed only with part 'text' or 'top', since an image tower that is "
            "trained changes them.",
            "/recipe/feature_replay",
        ),
        (
            {"method": "vrlwf_features", "augment": True},
            "Features can be replayed only without augment, since an image's crops have other "
            "features than the image.",
            "/recipe/feature_replay",
        ),
        (
            {"method": "vrlwf_features", "exemplars": 10},
            "Features can be replayed only in place of exemplars: set exemplars to 'none'.",
            "/recipe/feature_replay",
        ),
        *(
            (
                {"method": "replay", "exemplars": wrong},
                "exemplars must be a whole number, 0 to 1000000, a share below 1, 'none' or 'all'.",
                "/recipe/exemplars",
            )
            for wrong in (-1, 1_000_001, 1.5, True, "some", float("nan"))
        ),
        (
            {"vocabulary_texts": ["a cat", "a dog"]},
            "vocabulary_texts must be given with vocabulary 'file', and only with it.",
            "/recipe/vocabulary_texts",
        ),
        (
            FILE,
            "vocabulary_texts must be given with vocabulary 'file', and only with it.",
            "/recipe/vocabulary_texts",
        ),
        (
            FILE | {"vocabulary_texts": [str(n) for n in range(100_001)]},
            "vocabulary_texts must have at most 100,000 texts of 1,000,000 characters in all.",
            "/recipe/vocabulary_texts",
        ),
        (
            FILE | {"vocabulary_texts": [f"{n:0500}" for n in range(2001)]},
            "vocabulary_texts must have at most 100,000 texts of 1,000,000 characters in all.",
            "/recipe/vocabulary_texts",
        ),
        *(
            (
                FILE | {"vocabulary_texts": ["a cat", wrong]},
                "vocabulary_texts must have no blank text, and none of more than 500 characters.",
                "/recipe/vocabulary_texts",
            )
            for wrong in (" ", "a" * 501)
        ),
        (
            FILE | {"vocabulary_texts": ["a cat", "a cat"]},
            "vocabulary_texts must have at least two different texts.",
            "/recipe/vocabulary_texts",
        ),
        (
            FILE | {"vocabulary_texts": "a cat"},
            "vocabulary_texts must be a list of texts.",
            "/recipe/vocabulary_texts",
        ),
        (
            {"schedule": "linear"},
            "schedule must be one of: constant, step, cosine.",
            "/recipe/schedule",
        ),
        (
            {"mixing_choice": "layer"},
            "mixing_choice must be one of: none, fixed, validation, per_layer, fit.",
            "/recipe/mixing_choice",
        ),
        ({"exemplars": None}, "exemplars must not be null.", "/recipe/exemplars"),
        ({"warm_start": None}, "warm_start must not be null.", "/recipe/warm_start"),
        ({"augment": 1}, "augment must be true or false.", "/recipe/augment"),
        *(
            (
                {"preset": unknown},
                "preset must be one of: released, top, vit_b_32, vit_l_14_24gb, whole, zscl.",
                "/recipe/preset",
            )
            for unknown in ("best", "", None, 1, ["released"])
        ),
        (
            {"rate": 1, "beta": 2},
            f"The recipe has no field 'beta'; it has: {FIELDS}.",
            "/recipe/beta",
        ),
    ],
)
def test_a_recipe_says_in_a_sentence_what_it_does_not_take(
    fields: dict[str, Any], message: str, pointer: str
) -> None:
    with pytest.raises(RecipeInvalid) as refusal:
        Recipe.from_json(fields)
    assert (refusal.value.message, refusal.value.pointer) == (message, pointer)
    assert refusal.value.facts == {}


@pytest.mark.parametrize("name", Method)
def test_a_method_is_its_choices(name: Method) -> None:
    recipe = Recipe(method=name)
    assert {field: getattr(recipe, field) for field in COMPOSED} == METHODS[name]
    assert Recipe.from_json({"method": name.value}) == recipe


def test_any_choice_can_be_made_beside_a_method() -> None:
    recipe = Recipe.from_json(
        {"method": "vrlwf", "exemplars": 500, "label_space": "seen", "terms": ["cross", "vr"]}
    )
    assert (recipe.exemplars, recipe.label_space) == (500, LabelSpace.SEEN)
    assert recipe.terms == (LossTerm.VR, LossTerm.CROSS)
    assert recipe.teacher == Recipe(method=Method.VRLWF).teacher
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ({}, Method.VRLWF_FEATURES),
        ({"part": "text"}, Method.VRLWF_FEATURES),
        ({"part": "top"}, Method.VRLWF_FEATURES),
        ({"part": "whole"}, Method.VRLWF),
        ({"part": "image"}, Method.VRLWF),
        ({"part": "text", "augment": True}, Method.VRLWF),
        ({"label_space": "session"}, Method.VRLWF),
        ({"feature_replay": 0}, Method.VRLWF),
        ({"terms": ["vr", "reference"]}, Method.VRLWF),
    ],
)
def test_without_exemplars_the_default_replays_features_where_it_can(
    fields: dict[str, Any], method: Method
) -> None:
    none = Recipe.from_json({"exemplars": "none", **fields})
    like = Recipe.from_json({"method": method, **fields})
    assert none == replace(like, method=Method.VRLWF_REPLAY)
    assert bool(none.feature_replay) == (method is Method.VRLWF_FEATURES)


def test_without_exemplars_every_choice_can_still_be_made() -> None:
    chosen = Recipe.from_json({"exemplars": "none", "teacher": "parent", "label_space": "open"})
    assert (chosen.teacher, chosen.label_space) == (TeacherPolicy.PARENT, LabelSpace.OPEN)
    assert Recipe.from_json({"method": "replay", "exemplars": 0}).label_space == LabelSpace.SEEN


@pytest.mark.parametrize(
    ("given", "kept"),
    [("none", 0), (0, 0), (7, 7), (500, 500), (0.25, 25), (0.001, 1), ("all", 1_000_000)],
)
def test_exemplars_are_a_count_or_a_share_of_what_there_is(given: Any, kept: int) -> None:
    recipe = Recipe.from_json({"method": "replay", "exemplars": given})
    assert recipe.exemplars_of(99) == kept
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_as_many_given_texts_as_are_allowed_are_taken_in_their_order() -> None:
    texts = [str(n) for n in range(100_000)]
    recipe = Recipe.from_json(FILE | {"vocabulary_texts": texts})
    assert recipe.to_json()["vocabulary_texts"] == texts


def test_zscl_teaches_any_part_that_holds_the_image_tower() -> None:
    for part in ("whole", "image"):
        assert Recipe.from_json({"method": "zscl", "part": part}).part == part
    assert Recipe.from_json({"method": "lwf", "part": "text"}).part == "text"


@pytest.mark.parametrize(
    ("asked", "native", "used"),
    [
        (Precision.AUTO, {Precision.FP32, Precision.BF16}, Precision.BF16),
        (Precision.AUTO, {Precision.FP32, Precision.FP16}, Precision.FP32),
        (Precision.AUTO, {Precision.FP32}, Precision.FP32),
        (Precision.FP16, {Precision.FP32}, Precision.FP16),
        (Precision.FP32, {Precision.FP32, Precision.BF16}, Precision.FP32),
    ],
)
def test_auto_is_bf16_where_the_device_computes_in_it_and_a_named_precision_stays(
    asked: Precision, native: set[Precision], used: Precision
) -> None:
    assert asked.on(native) is used


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_recipe_and_is_stored_spelled_out(name: str) -> None:
    recipe = Recipe.from_json({"preset": name})
    assert {field: recipe.to_json()[field] for field in PRESETS[name]} == dict(PRESETS[name])
    assert "preset" not in recipe.to_json()
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_recipes_own_fields_override_the_preset() -> None:
    recipe = Recipe.from_json({"preset": "released", "epochs": 2, "seed": 10})
    assert (recipe.epochs, recipe.seed, recipe.learning_rate) == (2, 10, 1e-6)
    assert (recipe.unit_gradient, recipe.clip_norm, recipe.epsilon) == (True, 1.0, 1e-8 * 2**16)


def test_a_presets_own_values_are_checked_with_the_rest() -> None:
    with pytest.raises(RecipeInvalid) as caught:
        Recipe.from_json({"preset": "released", "epochs": 0})
    assert caught.value.pointer == "/recipe/epochs"
