"""Why a command of the shell cannot begin, as one tree.

StepError
└─ UsageError   a flag, variable or file is missing or wrong: nothing was sent, exit code 2
"""

from gha_step.contract.errors import StepError


class UsageError(StepError):
    """The command cannot begin; the message names the flag, variable or file, and the fix."""
