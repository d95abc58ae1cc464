"""Train the small CLIP: `python -m models.tiny.train --data ../shared/data --steps 2650`.

Everything drawn at random at a step depends only on the seed and the step's number, so a run that
is interrupted continues from its last checkpoint with the same result.
"""

import argparse
import dataclasses
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.tiny import augment, data, loss, towers
from models.tiny.optimiser import optimisers
from models.tiny.recipe import TEMPLATES, Recipe

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184"}
"""Settings that keep freed memory in the process, without which the speed varies widely."""

SIDED = ("left", "right", "flag", "clock", "keycap", "button", "letter", "o’clock", "-thirty")
"""Drawings with one of these words in their names are not mirrored."""


class Trainer:
    """The model with its running average and optimisers."""

    def __init__(self, corpus: data.Corpus, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.corpus, self.recipe, self.step = corpus, recipe, 0
        self.model: Any = towers.build()
        self.average = {n: p.detach().clone() for n, p in self.model.state_dict().items()}
        self.optimisers = optimisers(self.model, recipe)
        self.behind = [augment.background(g.pixels) for g in corpus.groups()[1:]]
        self.mirror = [
            torch.tensor([not any(w in item.name for w in SIDED) for item in g.items])
            for g in corpus.groups()[1:]
        ]
        self.encode_image: Any = self.model.visual

    def compile(self) -> None:
        """Compile the image tower if a compiler is available."""
        size = self.recipe.photos + self.recipe.emojis + self.recipe.cliparts
        example = torch.zeros(size, 3, data.SIDE, data.SIDE)
        example = example.contiguous(memory_format=torch.channels_last)
        self.encode_image = towers.compiled(self.model.visual, example)

    def batch(self) -> tuple[Tensor, list[int]]:
        """Return this step's augmented images (images, 3, side, side) and their concepts."""
        recipe, concepts, parts = self.recipe, list[int](), list[Tensor]()
        counts = (recipe.photos, recipe.emojis, recipe.cliparts)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        dice = augment.Dice(generator=generator)
        for place, (group, count) in enumerate(zip(self.corpus.groups(), counts, strict=True)):
            chosen = data.draw(
                len(group.items), count=count, step=self.step, seed=f"{recipe.seed}/{place}"
            )
            concepts += [self.corpus.index[group.items[i].name] for i in chosen]
            if place == 0:
                parts.append(augment.photos(group.pixels[chosen], dice))
            else:
                behind, mirror = self.behind[place - 1][chosen], self.mirror[place - 1][chosen]
                parts.append(augment.drawings(group.pixels[chosen], behind, dice, mirror=mirror))
        return augment.normalise(torch.cat(parts)), concepts

    def advance(self, *, steps: int, cooldown: int) -> float:
        """Take one optimisation step and return its loss."""
        recipe, rng = self.recipe, random.Random(f"{self.recipe.seed}/text/{self.step}")
        images, concepts = self.batch()
        present = sorted(set(concepts))
        row = {concept: i for i, concept in enumerate(present)}
        texts = [data.describe(self.corpus.concepts[c], recipe=recipe, rng=rng) for c in present]
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.encode_image(images)
            read = towers.encode_tokens(self.model, towers.tokens_of(texts))
        value = loss.contrast(
            F.normalize(seen.float(), dim=-1),
            read,
            owner=torch.tensor([row[c] for c in concepts]),
            smoothing=recipe.label_smoothing,
            text_weight=recipe.text_weight,
            scale=self.model.logit_scale.exp(),
        )
        value.backward()  # type: ignore[no-untyped-call]
        self._move(recipe.rate(self.step, steps=steps, cooldown=cooldown))
        self.step += 1
        return value.item()

    def _move(self, rate: float) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["base"] * rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, 4.6052)
            decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
            state = self.model.state_dict()
            torch._foreach_lerp_([self.average[n] for n in state], list(state.values()), 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint with everything that the next step needs."""
        kept = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimisers": [o.state_dict() for o in self.optimisers],
        }
        torch.save(kept, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        kept = torch.load(path, weights_only=True)
        self.step, self.average = kept["step"], kept["average"]
        self.model.load_state_dict(kept["model"])
        for optimiser, state in zip(self.optimisers, kept["optimisers"], strict=True):
            optimiser.load_state_dict(state)


@torch.no_grad()
def validation(trainer: Trainer) -> tuple[float, float]:
    """Return the averaged weights' top-1 accuracies on the validation photos and emojis."""
    model: Any = towers.build()
    model.load_state_dict(trainer.average)
    model.eval()
    corpus, found = trainer.corpus, []
    for part, names in (
        (corpus.validation_photos, {i.name for i in corpus.photos.items}),
        (corpus.validation_emojis, {i.name for i in corpus.emojis.items}),
    ):
        ordered = sorted(names)
        first = TEMPLATES[0]
        texts = towers.encode_tokens(
            model, towers.tokens_of([first.format(name=n) for n in ordered])
        )
        seen = model.encode_image(augment.normalise(part.pixels.float() / 255), normalize=True)
        best = (seen @ texts.T).argmax(1).tolist()
        right = [ordered[b] == item.name for b, item in zip(best, part.items, strict=True)]
        found.append(100 * sum(right) / len(right))
    return found[0], found[1]


def write_tokens(corpus: data.Corpus, folder: Path) -> None:
    """Write the list of tokens that occur in training sentences, without start and end."""
    rows = [towers.tokenizer().encode(text) for text in data.every_text(corpus.concepts)]
    folder.mkdir(parents=True, exist_ok=True)
    tokens = sorted({token for row in rows for token in row})
    (folder / "trained_tokens.json").write_text(json.dumps(tokens) + "\n")


def say(text: str) -> None:
    """Print a line with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def plan(work: Path, *, steps: int, cooldown: int) -> tuple[int, int]:
    """Return the numbers of steps and cool-down steps, from `plan.json` in `work` if it exists.

    On a shared machine the speed is not known in advance. Until the learning rate begins to fall,
    the file can move the end of training without a restart.
    """
    path = work / "plan.json"
    if not path.exists():
        return steps, cooldown
    changed = json.loads(path.read_text())
    return changed["steps"], changed["cooldown"]


def run(trainer: Trainer, *, work: Path, steps: int, cooldown: int, every: int) -> None:
    """Train to the end; write a checkpoint and export the model every `every` steps."""
    total, since, started = 0.0, 0, time.monotonic()
    steps, cooldown = plan(work, steps=steps, cooldown=cooldown)
    trainer.model.train()
    while trainer.step < steps:
        total, since = total + trainer.advance(steps=steps, cooldown=cooldown), since + 1
        if trainer.step % 25 == 0:
            pace = since / (time.monotonic() - started)
            left = (steps - trainer.step) / pace / 60
            say(
                f"step {trainer.step}/{steps} (-{cooldown}) loss {total / since:.3f} "
                f"scale {trainer.model.logit_scale.exp().item():.1f} "
                f"{pace:.2f} steps/s, {left:.0f} min left"
            )
            total, since, started = 0.0, 0, time.monotonic()
            steps, cooldown = plan(work, steps=steps, cooldown=cooldown)
        if trainer.step % every == 0 or trainer.step == steps:
            trainer.save(work / "checkpoint.pt")
            towers.export(trainer.average, work / "latest")
            photo, emoji = validation(trainer)
            say(f"step {trainer.step} validation photos {photo:.1f} % emojis {emoji:.1f} %")
            started = time.monotonic()


def main() -> None:
    """Read the arguments, the data and the last checkpoint, and train."""
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.environ.update(MALLOC)
        os.execv(sys.executable, [sys.executable, "-m", "models.tiny.train", *sys.argv[1:]])
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=towers.HERE / "work")
    parser.add_argument("--steps", type=int, default=2650)
    parser.add_argument(
        "--cooldown", type=int, default=900, help="steps of falling rate at the end"
    )
    parser.add_argument("--every", type=int, default=100, help="steps between two checkpoints")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="recipe fields")
    chosen = parser.parse_args()
    changes = {k: json.loads(v) for k, v in (pair.split("=") for pair in chosen.set)}
    recipe = dataclasses.replace(Recipe(), **changes)
    chosen.work.mkdir(parents=True, exist_ok=True)
    say(f"{recipe}")
    corpus = data.read_corpus(chosen.data)
    sizes = [len(group.items) for group in corpus.groups()]
    say(f"{sizes} images, {len(corpus.concepts)} concepts")
    write_tokens(corpus, chosen.work / "latest")
    trainer = Trainer(corpus, recipe)
    checkpoint = chosen.work / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        say(f"continues from step {trainer.step}")
    trainer.compile()
    say("compiled")
    run(trainer, work=chosen.work, steps=chosen.steps, cooldown=chosen.cooldown, every=chosen.every)


if __name__ == "__main__":
    main()
