"""The way in from a shell or a CI job: one step to its end, by one command, and steps that are checked offline."""
