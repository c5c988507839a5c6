"""The emulated GitHub, judged by GitHub's published API description and by the facts."""
