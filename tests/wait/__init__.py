"""``gha-wait-for-workflow``: what is understood of a run, what is asked of GitHub, and what the host is told."""
