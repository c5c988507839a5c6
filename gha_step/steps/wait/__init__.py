"""The step ``gha-wait-for-workflow``."""
