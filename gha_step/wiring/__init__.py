"""The only package that constructs objects: `core` (ledger, GitHub, steps) and `server` (the interfaces). Both can be
closed.
"""
