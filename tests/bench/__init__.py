"""Performance of `gha-step serve`, side by side with its peers: `make bench`. It judges nothing and times out nothing.

Every comparison is made within one run, in turns (A B C, A B C, …), so that a machine that slows down slows down all;
what is told are medians, with the middle half of all rounds beside them. Times are milliseconds of wall clock, memory
is MiB (2**20 bytes) as Linux counts it, CPU is user and system time of the server's process alone.

Who is compared (`tests.bench.programs`):

    gha-step       `gha-step serve`: sqlite ledger, Secrets in a directory
    stdlib relay   http.server, one durable sqlite commit, one raw POST: the floor     (peers/stdlib_relay.py)
    natural stack  FastAPI + PyGithub + kubernetes, as one would write it first        (peers/natural_stack.py)
    http.server    /readyz and nothing else: what starting costs at least          (peers/bare_server.py)
    raw POST       no server at all: the dispatch's request over a connection that is kept, by http.client

GitHub is `tests.bench.stand_in`, a process of its own that answers with fixed bytes. The emulator is not used: it takes
longer for a dispatch than gha-step does, so every ratio would come out better than it is.
"""
