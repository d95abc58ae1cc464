"""The rows that a study alone has: what defines each of them, and that the trainer runs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.study.plan import RunConfig, run_config_of
from benchmarks.study.rows import ROWS
from benchmarks.study.rows.congruence import SuitesToo, focal_distillation
from benchmarks.study.rows.drift import Drift, DriftingFeatures
from benchmarks.study.rows.low_rank import residual_inputs, watched, with_features
from benchmarks.study.rows.merging import merged
from benchmarks.study.rows.sharpness import climb
from core.clip.model import load
from core.errors import ModelNotTrainable
from core.learning.methods import LearningMethod, leading
from core.learning.student import Batch
from core.learning.trainer import UpdateTrainer
from core.learning.vocabulary import Columns
from core.recipes.fields import DEFAULT_PROMPT
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import (
    Watching,
    another_root,
    prepared,
    red_and_blue,
    tensors,
    with_recipe,
)
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

TINY = {"rank": 2, "kept_energy": 0.6}  # options for widths of 8 and 16
SHORT = {"epochs": 1, "batch_size": 5, "learning_rate": 3e-3, "sentences": 6, "sentence_length": 6}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def later(artifacts: MemoryArtifacts) -> TrainingSpec:
    """The second update of a line: its parent has moved away from the root and learned green."""
    spec = replace(red_and_blue(artifacts), learned=("green",))
    return replace(spec, root=another_root(artifacts))


def a_row(name: str, **values: object) -> RunConfig:
    method = ROWS[name]
    tiny = {key: value for key, value in TINY.items() if key in method.options}
    return run_config_of({**SHORT, **tiny, **values}, name)


def trained(
    artifacts: MemoryArtifacts,
    spec: TrainingSpec,
    row: RunConfig,
    monitor: Watching | None = None,
    resume: Digest | None = None,
) -> Digest:
    trainer = UpdateTrainer(
        artifacts, device=torch.device("cpu"), threads=1, make_method=row.make_method
    )
    spec = replace(spec, recipe=row.recipe)
    found = trainer.train(spec, resume=resume, monitor=monitor or Watching())
    return found.weights.digest


@pytest.mark.parametrize("name", sorted({*ROWS} - {"drifting_features"}))  # never resumed
def test_a_row_trains_resumes_to_the_bit_and_ends_in_a_plain_clip(
    name: str, artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    saving = Watching(every=1)
    whole = trained(artifacts, later, a_row(name), saving)
    assert [step for step, _ in saving.saved] == [1, 2]
    kept = Watching(every=1, stop_at=1)
    with pytest.raises(kept.stop_with):
        trained(artifacts, later, a_row(name), kept)
    [(_, checkpoint)] = kept.saved
    assert trained(artifacts, later, a_row(name), resume=checkpoint) == whole
    before, after = tensors(artifacts, later.parent), tensors(artifacts, whole)
    assert {n: t.shape for n, t in after.items()} == {n: t.shape for n, t in before.items()}
    assert whole != later.parent


def test_options_are_no_part_of_the_recipe_and_decide_the_run() -> None:
    gentle, usual = a_row("sam", radius=0.01), a_row("sam")
    assert usual.options == {"radius": 0.05}
    assert gentle.recipe == usual.recipe
    assert gentle.facts() != usual.facts()
    assert "options" not in run_config_of({}, "geodl").facts()


def test_a_row_may_take_a_share_of_the_steps_of_its_epochs(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = replace(a_row("sam"), share_of_steps=0.5)
    spec = replace(later, recipe=row.recipe)
    assert prepared(artifacts, spec, make_method=a_row("sam").make_method).update.steps == 2
    assert prepared(artifacts, spec, make_method=row.make_method).update.steps == 1
    assert row.facts() != a_row("sam").facts()


# Sharpness.


def test_sam_climbs_by_the_radius_along_the_gradient() -> None:
    one, two = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0]))
    one.grad, two.grad = torch.tensor([3.0]), torch.tensor([-4.0])
    climb([one, two], 0.5)
    torch.testing.assert_close(one.data, torch.tensor([1.3]))
    torch.testing.assert_close(two.data, torch.tensor([1.6]))
    assert one.grad is None


def test_sam_steps_along_the_gradient_at_the_worst_point_of_the_same_batch(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    # With so large an epsilon, Adam's first step is the gradient as it is, not its sign.
    row = a_row("sam", radius=0.3, clip_norm=1e6, epsilon=1.0, learning_rate=1.0)
    spec = replace(later, recipe=row.recipe)

    class Recording(LearningMethod):
        """Takes the two passes by hand, and leaves the second gradient."""

        def adjust(self, parameters, step, again) -> None:  # type: ignore[no-untyped-def]
            before = {name: p.detach().clone() for name, p in parameters.items()}
            given = {name: p.grad for name, p in parameters.items() if p.grad is not None}
            length = torch.cat([g.flatten() for g in given.values()]).norm()
            with torch.no_grad():
                for name, p in parameters.items():
                    p.copy_(before[name] + 0.3 * given[name] / length if name in given else p)
                    p.grad = None
            again()
            with torch.no_grad():
                for name, p in parameters.items():
                    p.copy_(before[name])

    found = []
    for make in (row.make_method, Recording, LearningMethod):
        run = prepared(artifacts, spec, make_method=make)
        run.update.advance(run.reading.step(0))
        found.append({n: p.detach().clone() for n, p in run.update.models.parameters.items()})
    ours, by_hand, plain = found
    torch.testing.assert_close(ours, by_hand, rtol=1e-3, atol=1e-3)
    assert max(float((ours[name] - plain[name]).abs().max()) for name in ours) > 0.03


# Merging.


def test_magmax_keeps_the_change_of_largest_magnitude_of_each_weight() -> None:
    earlier = {"w": torch.tensor([0.5, -0.5, 0.2, 0.3])}
    later = {"w": torch.tensor([0.4, 0.6, -0.2, 0.0])}
    assert merged(earlier, later)["w"].tolist() == pytest.approx([0.5, 0.6, -0.2, 0.3])


def test_magmax_reads_the_earlier_changes_off_the_parent(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("magmax", scale=0.5)
    made = tensors(artifacts, trained(artifacts, later, row))
    root, parent = (tensors(artifacts, version) for version in (later.root, later.parent))
    for name in ("visual.proj", "text_projection"):
        change, earlier = 2 * (made[name] - root[name]), 2 * (parent[name] - root[name])
        slack = 1e-5
        assert (change.abs() >= earlier.abs() - slack).all()
        assert (change - earlier).abs().max() > slack


def test_an_average_of_versions_for_start_and_deployment_is_a_recipe(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    """TIME's best, θ_t = (1 − w) θ_{t−1} + w trained from θ_{t−1}, needs no method of its own."""
    values = {**SHORT, "method": "ft"}
    plain = tensors(artifacts, trained(artifacts, later, run_config_of(values, "")))
    mixed = {**values, "mixing_choice": "fixed", "mixing": 0.25}
    made = tensors(artifacts, trained(artifacts, later, run_config_of(mixed, "")))
    before = tensors(artifacts, later.parent)
    for name in ("visual.proj", "text_projection"):
        torch.testing.assert_close(made[name], 0.75 * before[name] + 0.25 * plain[name])


# Low rank.


def changes(artifacts: MemoryArtifacts, spec: TrainingSpec, row: RunConfig) -> dict[str, Tensor]:
    """The changes of an update, by tensor, of those that it changes."""
    before = tensors(artifacts, spec.parent)
    after = tensors(artifacts, trained(artifacts, spec, row))
    return {n: after[n] - before[n] for n in before if not torch.equal(after[n], before[n])}


def test_keeplora_steps_off_the_principal_inputs_and_the_earlier_features(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("keeplora", epochs=3, learning_rate=0.03, kept_features=0.5)
    found = changes(artifacts, later, row)
    assert found
    assert {name.rpartition(".")[2] for name in found} == {"in_proj_weight", "weight"}
    before = tensors(artifacts, later.parent)
    model = load(later.parent, artifacts)
    with watched(model) as inputs, torch.no_grad():
        model.encode_tokens(model.tokenise(DEFAULT_PROMPT.fill_all(("green",))))
    off = 0
    for name in found:
        parts = 3 if "in_proj" in name else 1
        pairs = zip(*(one[name].flatten(1).chunk(parts) for one in (before, found)), strict=True)
        for weight, step in pairs:
            kept = leading(weight, 0.6)[1]
            if not name.startswith("visual."):  # images of green are measured for the others
                kept = with_features(kept, inputs[name], 0.5)
            assert torch.linalg.matrix_rank(step, rtol=1e-3) <= 2
            assert (step @ kept).norm() <= 1e-3 * step.norm()
            off += kept.shape[1]
    assert off


def test_the_inputs_of_an_output_projection_are_measured_without_it() -> None:
    model = tiny_clip()
    attention: Any = model.network.get_submodule("visual.transformer.resblocks.0.attn")
    pixels = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    seen: list[Tensor] = []

    def reading(layer, args, output) -> None:  # type: ignore[no-untyped-def]
        del layer, args
        bias = attention.out_proj.bias
        solved = torch.linalg.solve(
            attention.out_proj.weight.double(), (output[0] - bias).double().flatten(0, -2).T
        )
        seen.append(solved.T)

    hook = attention.register_forward_hook(reading)
    with torch.no_grad(), watched(model) as sums:
        model.encode_images(pixels)
    hook.remove()
    (rows,) = seen
    found = sums["visual.transformer.resblocks.0.attn.out_proj.weight"]
    torch.testing.assert_close(found.double(), rows.T @ rows, rtol=1e-3, atol=1e-3)


def test_features_are_kept_until_they_hold_the_share() -> None:
    kept = torch.eye(4)[:, :1]
    inputs = torch.diag(torch.tensor([5.0, 3.0, 1.5, 0.5]))  # of 10; the first is kept already
    for share, count in ((0.5, 1), (0.8, 2), (0.81, 3), (1.0, 4)):
        assert with_features(kept, inputs, share).shape == (4, count)
    torch.testing.assert_close(with_features(kept, inputs, 0.7)[:, 1].abs(), torch.eye(4)[1])


def test_directions_of_a_gradient_are_the_leading_ones_off_what_is_kept() -> None:
    gradient = torch.diag(torch.tensor([9.0, 2.0, 5.0]))
    found = residual_inputs(gradient, torch.eye(3)[:, :1], 1)
    torch.testing.assert_close(found.abs(), torch.tensor([[0.0, 0.0, 1.0]]))


def test_null_space_steps_leave_the_used_directions_as_they_are(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    found = changes(artifacts, later, a_row("null_space_lora", epochs=3, learning_rate=0.03))
    assert found
    before = tensors(artifacts, later.parent)
    for name, change in found.items():
        parts = 3 if "in_proj" in name else 1
        pairs = zip(*(one.flatten(1).chunk(parts) for one in (before[name], change)), strict=True)
        for weight, step in pairs:
            left, _, right = torch.linalg.svd(weight, full_matrices=False)
            assert (step @ right[:-2].T).norm() <= 1e-3 * step.norm()
            assert (left[:, :-2].T @ step).norm() <= 1e-3 * step.norm()


# Congruence.


def test_focal_distillation_weighs_what_the_teacher_gets_right() -> None:
    third = torch.log(torch.tensor([[3.0, 1.0], [3.0, 1.0]]))  # q = (3/4, 1/4)
    even = torch.zeros(2, 2)  # p = (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2
    divergence = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    found = focal_distillation(even, third, torch.tensor([0, 1]), base=1.0, extra=5.0)
    torch.testing.assert_close(found, (6 + 1) / 2 * divergence)
    assert focal_distillation(third, third, torch.tensor([0, 1]), base=1.0, extra=5.0) == 0


def test_the_focal_term_takes_the_parent_and_the_others_the_root(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("focal", focal_weight=0.0)
    spec = replace(later, recipe=row.recipe)
    found = {}
    for name, make, policy in (
        ("focal", row.make_method, "both"),
        ("root", LearningMethod, "root"),
    ):
        run = prepared(artifacts, with_recipe(spec, teacher=policy), make_method=make)
        found[name] = run.update.gradients(run.reading.step(0))
    assert found["focal"]["vr"] == found["root"]["vr"]
    assert found["focal"]["lwf"] == found["root"]["lwf"]
    assert abs(found["focal"]["focal"]) < 1e-6  # the student still is the parent


def test_focal_distillation_on_suites_adds_its_gradient_to_the_steps(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("focal_suites", suite_images=6, augment=False)
    assert later.selection is not None
    asked = later.selection.new  # ten squares, red or blue
    spec = replace(later, recipe=row.recipe, selection=replace(later.selection, kept=(asked,)))
    made: list[SuitesToo] = []

    def make(recipe: Recipe, columns: Columns) -> SuitesToo:
        made.append(SuitesToo(recipe, columns, **row.options))
        return made[-1]

    run = prepared(artifacts, spec, make_method=make)
    parameters = run.update.models.parameters
    (method,) = made
    assert abs(method.on_suites(0).item()) < 1e-6  # the student still is the parent
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.05 * torch.sin(torch.arange(parameter.numel()).view_as(parameter)))
    wanted = torch.autograd.grad(
        method.on_suites(0), list(parameters.values()), materialize_grads=True
    )
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    method.adjust(parameters, 0, lambda: None)
    for parameter, expected in zip(parameters.values(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, 1 + expected)
    assert any(expected.abs().max() > 1e-4 for expected in wanted)
    assert method.on_suites(0).item() > 1e-3


def test_focal_distillation_on_suites_takes_validation_parts(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("focal_suites")
    assert row.chooses
    assert not a_row("focal").chooses
    with pytest.raises(ModelNotTrainable, match="no validation parts of suites"):
        prepared(
            artifacts,
            replace(later, recipe=row.recipe, selection=None),
            make_method=row.make_method,
        )


@pytest.mark.parametrize(("learned", "helps"), [(("green",), True), ((), False)])
def test_new_classes_have_to_win_by_a_margin_in_the_cross_entropy_alone(
    artifacts: MemoryArtifacts, later: TrainingSpec, learned: tuple[str, ...], helps: bool
) -> None:
    """All images are of new classes, so the margin makes their loss smaller if there are others."""
    found = {}
    for margin in (0.0, 4.0):
        row = a_row("margin", method="vrlwf", margin=margin)
        spec = replace(later, recipe=row.recipe, learned=learned)
        run = prepared(
            artifacts, with_recipe(spec, label_space="seen"), make_method=row.make_method
        )
        found[margin] = run.update.gradients(run.reading.step(0))
    without, among = found[0.0], found[4.0]
    assert (among["ce"] < without["ce"] - 0.1) is helps
    assert helps or among["ce"] == pytest.approx(without["ce"], abs=1e-5)
    assert (among["vr"], among["focal"]) == (without["vr"], without["focal"])


# Texts and images.


def test_a_share_of_the_sentences_are_prompts_of_the_named_classes(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("named_sentences", named_share=0.5)
    spec = replace(later, recipe=row.recipe, open_classes=("a lamp", "two cats"))
    run = prepared(artifacts, spec, make_method=row.make_method)
    tokens, _ = run.update._sentences()
    named = tiny_clip().tokenise(DEFAULT_PROMPT.fill_all(spec.open_classes)).tolist()
    assert len(tokens) == 6
    assert all(row in named for row in tokens[:3].tolist())
    assert not any(row in named for row in tokens[3:].tolist())


def test_the_texts_of_own_images_are_not_read(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("own_images")
    found = trained(artifacts, later, row)
    silent = tuple(replace(entry, texts=("nothing",)) for entry in later.reference)
    assert trained(artifacts, replace(later, reference=silent), row) == found
    assert trained(artifacts, replace(later, reference=later.exemplars), row) != found


# Drawn features that follow the image tower.


def test_a_drift_recovers_a_linear_map_and_stays_where_it_is_told_to() -> None:
    before = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    moved = 0.1 * torch.arange(36.0).view(6, 6) / 36
    halves = torch.split(before, 100)
    drift = Drift.between(halves[0] + halves[0] @ moved, halves[0], ridge=1e-6)
    torch.testing.assert_close(drift.map(), moved, rtol=0, atol=1e-5)
    drift = drift.then(halves[1] + halves[1] @ moved, halves[1])
    torch.testing.assert_close(drift.map(), moved, rtol=0, atol=1e-5)
    still = Drift.between(before + before @ moved, before, ridge=1e6)
    assert still.map().abs().max() < 1e-6


def test_drawn_features_join_a_batch_as_images_of_earlier_classes(
    artifacts: MemoryArtifacts, later: TrainingSpec
) -> None:
    row = a_row("drifting_features", augment=False)
    first = replace(later, recipe=row.recipe, parent=later.root, learned=())
    trainer = UpdateTrainer(
        artifacts, device=torch.device("cpu"), threads=1, make_method=row.make_method
    )
    notes = trainer.train(first, resume=None, monitor=Watching()).notes["feature_statistics"]
    assert sorted(notes) == ["blue", "red"]
    spec = replace(
        later, recipe=row.recipe, learned=("green",), feature_statistics={"green": notes["red"]}
    )
    seen: list[tuple[Batch, Batch]] = []
    green: list[int] = []
    maps: list[Tensor] = []

    class Recording(DriftingFeatures):
        def join(self, batch: Batch) -> Batch:
            seen.append((batch, super().join(batch)))
            green.append(self.columns.names.index("green"))
            maps.append(self.drift.map())
            return seen[-1][1]

    run = prepared(artifacts, spec, make_method=lambda r, c: Recording(r, c, **row.options))
    found = run.update.gradients(run.reading.step(0))
    (batch, joined), (_, again) = seen
    assert again is joined  # the terms of a step have the same draws
    own, drawn = joined.student.images[:5], joined.student.images[5:]
    torch.testing.assert_close(own, batch.student.images)
    assert len(drawn) == 2  # one earlier class beside two, in a batch of five
    assert {*joined.target[5:].tolist()} == {green[0]}
    root = joined.teachers[-1].images[5:]
    torch.testing.assert_close(root.norm(dim=1), torch.ones(2))
    assert not torch.allclose(drawn, root)  # the student is no longer the root
    torch.testing.assert_close(drawn, nn.functional.normalize(root + root @ maps[0], dim=1))
    wanted = nn.functional.cross_entropy(joined.student.class_logits, joined.target)
    assert found["ce"] == pytest.approx(wanted.item(), abs=1e-6)
    own_alone = nn.functional.cross_entropy(batch.student.class_logits, batch.target)
    assert found["ce"] != pytest.approx(own_alone.item(), abs=1e-3)
