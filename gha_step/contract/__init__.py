"""What crosses the wire: step request and result, each step's config, and the errors that end a step.

Every wire key is written once, as the alias of the field that carries it.
"""
