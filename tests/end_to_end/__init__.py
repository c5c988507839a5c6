"""A Kargo host, the real server process and the emulated GitHub, all over real sockets."""
