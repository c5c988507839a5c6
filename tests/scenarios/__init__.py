"""Whole promotions over real sockets: a host, the real server, an emulated GitHub. Judged by what GitHub holds."""
