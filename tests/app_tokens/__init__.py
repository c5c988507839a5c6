"""Installation tokens of GitHub Apps: how one is got, shared, kept and renewed."""
