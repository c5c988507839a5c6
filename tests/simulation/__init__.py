"""The real step, ledger and GitHub code under a simulated clock, network, disk and host, by seed.

python -m tests.simulation --seed 42      replays one schedule and prints it
python -m tests.simulation --port         with Port as the host
python -m tests.simulation --seeds 10000  runs many; the first that breaks an invariant is printed
"""
