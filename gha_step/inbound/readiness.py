"""Whether this server wants calls: what health checks and every way in ask."""


class Readiness:
    """Not ready before everything is constructed, and not once it has to stop."""

    def __init__(self) -> None:
        self.ready = False
        self.draining = False

    @property
    def serving(self) -> bool:
        """Whether calls are welcome."""
        return self.ready and not self.draining
