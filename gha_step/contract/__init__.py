"""What crosses the wire: step request and result, each step's config, the errors that end a step, listings of runs.

Every JSON key is written once, as the alias of the field that has its value.
"""
