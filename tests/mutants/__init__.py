"""Named mutations of the code that keeps the promises: each must be caught.

python -m tests.mutants               every mutant, in a scratch copy; exit 0 only if all of them die
python -m tests.mutants --only fence  those whose name holds the word
"""
