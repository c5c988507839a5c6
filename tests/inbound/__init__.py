"""The HTTP server, over real sockets and as a real process."""
