"""Kargo promotion steps for GitHub Actions: at most one dispatch per step, and never a wrong run ID."""

__version__ = "0.1.0"
