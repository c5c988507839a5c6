"""The REST resource for callers that prove a project: stock Kargo."""
