"""Programs of the same function as `gha-step serve`, to compare it with. Each is run by its path, as a program."""
