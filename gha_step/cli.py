"""The command line."""


def main() -> int:
    """Placeholder until the commands land in this same change set."""
    return 0
