"""The step ``gha-dispatch-workflow``."""
