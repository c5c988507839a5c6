"""The step that cancels a run."""
