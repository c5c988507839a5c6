"""The tests, and what they share: a host, a GitHub, the program put together."""
