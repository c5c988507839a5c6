"""What crosses the wire: step request and result, each step's config, the errors that end a step, listings of runs.

Every wire key is written once, as the alias of the field that carries it.
"""
