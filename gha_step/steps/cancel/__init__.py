"""The step ``gha-cancel-workflow``."""
