"""``python -m gha_step`` is ``gha-step``."""

import sys

from gha_step.cli import main

sys.exit(main())
