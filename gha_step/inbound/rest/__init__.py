"""The REST resource for callers that authenticate as a project: stock Kargo."""
