"""The rule about other keys' runs: the old one has a counterexample, the new one none within these bounds."""

from dataclasses import replace

import pytest

from .rivals import OLD, OPEN, TWO, Rules, explore

ANY = frozenset({"200", "204", "lost"})


def test_without_the_rule_b_takes_as_run_where_as_answer_named_it_and_bs_did_not() -> None:
    _, course, _ = explore(OLD)
    assert course is not None
    assert course.splitlines()[-1].endswith("accepted [0] 0")


@pytest.mark.parametrize("left_out", ["waits_for_rivals", "waits_for_unidentified", "a_number_may_be_any_file"])
def test_no_part_of_the_rule_can_be_left_out(left_out: str) -> None:
    assert explore(replace(TWO, numbers=frozenset({1}), **{left_out: False}))[1] is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rules",
    [
        TWO,
        replace(TWO, numbers=frozenset({0})),
        replace(TWO, late=frozenset(), answers=(ANY, ANY)),
        Rules(answers=(frozenset({"200"}), frozenset({"204"}), frozenset({"204", "lost"})), refs=("main",) * 3),
    ],
    ids=["B's run is late", "one by its number", "lost answers", "three at once"],
)
def test_with_it_nobody_takes_anothers_run_and_everybody_comes_to_an_end(rules: Rules) -> None:
    states, course, ends = explore(rules)
    assert states > 500
    assert course is None, course
    assert not OPEN & {state for end in ends for state in end}


def test_two_keys_on_two_refs_may_both_be_accepted_after_a_204() -> None:
    both = replace(TWO, answers=(frozenset({"204"}),) * 2, refs=("main", "dev"), late=frozenset())
    _, course, ends = explore(both)
    assert course is None
    assert ("accepted", "accepted") in ends
    assert not {"ambiguous", "unresolved"} & {state for end in ends for state in end}
