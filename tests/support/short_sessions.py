"""``gha-step serve`` that its Kafka group counts as gone after 6 seconds without a sign of life, not 45: for kills."""

import sys
from functools import partialmethod

from gha_step.cli import main
from gha_step.wiring.port import PortParts

if __name__ == "__main__":
    PortParts.add_kafka = partialmethod(PortParts.add_kafka, session=6.0)  # type: ignore[assignment,method-assign]
    sys.exit(main(["serve"]))
