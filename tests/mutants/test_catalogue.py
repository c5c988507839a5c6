"""A mutant whose place has moved would mutate nothing, and tests that have moved would catch nothing."""

from tests.support.rows import each_row

from .__main__ import ROOT
from .catalogue import MUTANTS, PORT_SIMULATION, SIMULATION, Mutant


@each_row("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_place_of_a_mutation_stands_exactly_once_and_its_tests_are_there(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    by_tests = [name for name in mutant.caught_by.split() if name not in (SIMULATION, PORT_SIMULATION)]
    missing = [name for name in by_tests if not (ROOT / name).exists()]
    assert not missing
