"""Real kills: real server processes, SIGKILLed around the POST and started again on the same ledger.

The host sends again as hosts do; the emulated GitHub runs in this process and is the judge. `make test` plays a
handful of rounds; ``python -m tests.kills --rounds 200`` plays more and prints what it counted.
"""
