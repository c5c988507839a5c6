"""What the tests stand on: the program put together, and the world around it."""
