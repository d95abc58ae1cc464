"""The versions of the study: their names, recipes, seeds and sizes of noise."""

from collections.abc import Iterator, Mapping
from typing import Any

ROOT = "bundled"
SEEDS = (11, 12)
PER_CLASS = 250  # images of each of the ten products; a fifth of them is held out
COMMON = {"epochs": 3, "batch_size": 100, "optimiser": "adam"}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "ft-gentle": {"method": "ft", "learning_rate": 1e-4},
    "ft": {"method": "ft", "learning_rate": 3e-4},
    "ft-harsh": {"method": "ft", "learning_rate": 1e-3},
    "vrlwf": {"method": "vrlwf", "learning_rate": 3e-4, "replay_weight": 6.0},
}
END = ("ft-harsh", SEEDS[0])  # the recipe and seed that mixtures use
MIXTURES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8)
NOISE = (0.1, 0.15)  # times a tensor's root mean square


def trained(recipe: str, seed: int) -> str:
    """Return the name of a trained version."""
    return f"{recipe}-{seed}"


def mixture(weight: float) -> str:
    """Return the name of the untouched weights mixed with `END`'s, whose share is `weight`."""
    return f"mixture-{weight:.2f}"


def noise(size: float, seed: int) -> str:
    """Return the name of the untouched weights with noise."""
    return f"noise-{size:.2f}-{seed}"


def names() -> Iterator[str]:
    """Yield the names of all versions, in the order in which they are evaluated."""
    yield ROOT
    yield from (trained(recipe, seed) for recipe in RECIPES for seed in SEEDS)
    yield from map(mixture, MIXTURES)
    yield from (noise(size, seed) for size in NOISE for seed in SEEDS)
