"""Mutated files depend on number and seed alone, and each differs from what it was made of."""

from tests.inputs.mutations import MUTATIONS, mutated

WHOLE = {"one": [bytes(range(256)) * 4], "other": [b"other" * 100, b"another" * 100]}
NUMBERS = range(4 * len(WHOLE) * len(MUTATIONS))


def test_a_number_and_a_seed_give_the_same_input_again() -> None:
    first = [mutated(number, 7, WHOLE) for number in NUMBERS]
    assert [mutated(number, 7, WHOLE) for number in NUMBERS] == first
    assert [mutated(number, 8, WHOLE) for number in NUMBERS] != first


def test_each_kind_gets_each_mutation_and_most_change_it() -> None:
    made = [mutated(number, 0, WHOLE) for number in NUMBERS]
    assert {(kind, name) for kind, name, _ in made} == {(k, n) for k in WHOLE for n in MUTATIONS}
    assert all(data for _, _, data in made)
    changed = [name for kind, name, data in made if data not in WHOLE[kind]]
    assert len(changed) > 0.9 * len(made)
    assert set(changed) == set(MUTATIONS)
