"""The step kinds, a package for each, and what they share."""
