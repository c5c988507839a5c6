"""Whether this server accepts calls: health checks and every interface ask here."""

from collections.abc import Callable


class Readiness:
    """Not ready before everything is constructed, and not once it has to stop."""

    def __init__(self) -> None:
        self.ready = False
        self.draining = False
        self.useless: Callable[[], bool] = lambda: False
        """Whether nothing can come in, because those refuse it who are to be asked."""

    @property
    def serving(self) -> bool:
        """Whether calls are welcome."""
        return self.ready and not self.draining and not self.useless()
