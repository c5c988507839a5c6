"""The interface for a shell or a CI job: one command runs one step to its end, and checks steps offline."""
