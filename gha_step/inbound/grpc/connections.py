"""gRPC's connections: how many may have proved nothing, and how many calls those may make.

grpcio names no connection and closes none: it knows one limit for all of them, and beyond it refuses everybody. So they
are found among the process's own file descriptors, and shut down there; to grpc the peer has then closed them.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import unquote

from gha_step.inbound.connections import ConnectionLimit
from gha_step.inbound.unproved_calls import UnprovedCalls

UNPROVED: Final = 1024  # connections at once, of 4 to 40 kB
REFUSED: Final = 50  # calls of one address in a second: each costs a millisecond
LOOK_EACH: Final = 1.0  # seconds
LOOK_SHARE: Final = 20.0  # seconds apart, for each second that a look took
_DESCRIPTORS: Final = "/dev/fd"


class Connections:
    """Those to one port of this process. For one event loop.

    A peer is named as grpc does: ``ipv4:192.0.2.1:40000``, ``ipv6:%5B2001:db8::1%5D:40000``.
    """

    def __init__(self, most: int = UNPROVED) -> None:
        self._port = 0
        self._unproved = ConnectionLimit(most)
        self._seen: dict[int, _Connection | None] = {}  # by inode; None: another's
        self._by_peer: dict[str, _Connection] = {}
        self._proved: set[str] = set()
        self._calls = UnprovedCalls("gRPC", REFUSED)
        self._closing: set[str] = set()
        self._rest_until = 0.0
        self._next: asyncio.TimerHandle | None = None

    def watch(self, port: int) -> None:
        """Look at them each second from now on."""
        self._port = port
        self._each_second()

    def leave(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()
        self._calls.release()

    def proved(self, peer: str) -> None:
        """A call with a valid bearer came."""
        if peer not in self._proved:
            self._proved.add(peer)
            if peer in self._by_peer:
                self._unproved.leave(self._by_peer[peer], self._by_peer[peer].address)

    def called(self, peer: str) -> None:
        """A call came that showed no valid bearer, or needs none; beyond the limit its connection is closed."""
        if peer in self._proved:
            return
        address = address_of(peer)
        self._calls.came(address)
        if self._calls.too_many(address) and peer not in self._closing:
            if not self._closing:
                loop = asyncio.get_running_loop()
                loop.call_at(max(loop.time(), self._rest_until), self._close)
            self._closing.add(peer)

    async def refusing(self, peer: str) -> None:
        """Before such a call is refused: whoever asks again as soon as it hears, is slowed down."""
        await self._calls.turn(address_of(peer))

    def _close(self) -> None:
        self._look()
        for peer in self._closing & self._by_peer.keys():
            self._by_peer[peer].abort()
        self._closing.clear()

    def _each_second(self) -> None:
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(LOOK_EACH, self._each_second)
        if loop.time() >= self._rest_until:
            self._look()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        seen = {}
        try:
            for inode, descriptor in _sockets():
                with suppress(OSError):  # it is no connection, or is gone again
                    seen[inode] = self._seen[inode] if inode in self._seen else self._enter(inode, descriptor)
        except OSError:  # no descriptor is left to look with
            return
        for inode in self._seen.keys() - seen.keys():
            self._left(self._seen[inode])
        self._seen = seen
        self._proved &= self._by_peer.keys()
        self._rest_until = loop.time() + LOOK_SHARE * (loop.time() - begun)

    def _enter(self, inode: int, descriptor: int) -> "_Connection | None":
        made = _connection(inode, descriptor, self._port)
        if made is not None:
            self._by_peer[made.peer] = made
            if made.peer not in self._proved:
                self._unproved.enter(made, made.address)
        return made

    def _left(self, connection: "_Connection | None") -> None:
        if connection is not None:
            self._unproved.leave(connection, connection.address)
            if self._by_peer.get(connection.peer) is connection:
                del self._by_peer[connection.peer]


class _Connection:
    """``inode``: which socket it is, however often the descriptor's number is used again."""

    def __init__(self, inode: int, descriptor: int, host: str, port: int) -> None:
        self._inode = inode
        self._descriptor = descriptor
        host = host.removeprefix("::ffff:")
        self.peer = f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"
        self.address = host

    def abort(self) -> None:
        """See `gha_step.inbound.connections.Line`."""
        with suppress(OSError), _opened(self._inode, self._descriptor) as line:
            line.shutdown(socket.SHUT_RDWR)


def address_of(peer: str) -> str:
    """The address of a peer, as in HTTP's lines: without its port."""
    kind, _, address = peer.partition(":")
    return unquote(address).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind


def _sockets() -> list[tuple[int, int]]:
    """Inode and descriptor of every socket of this process, the oldest descriptor first."""
    found = []
    for descriptor in sorted(map(int, os.listdir(_DESCRIPTORS))):
        with suppress(OSError):  # it was closed meanwhile
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode):
                found.append((status.st_ino, descriptor))
    return found


def _connection(inode: int, descriptor: int, port: int) -> _Connection | None:
    """The connection to ``port`` behind a descriptor; ``None``: it is no such. :raises OSError: it is none at all."""
    with _opened(inode, descriptor) as line:
        if line.family in (socket.AF_INET, socket.AF_INET6) and line.getsockname()[1] == port:
            host, number = line.getpeername()[:2]
            return _Connection(inode, descriptor, host, number)
    return None


@contextmanager
def _opened(inode: int, descriptor: int) -> Iterator[socket.socket]:
    """The same socket under a descriptor of our own. :raises OSError: grpc has closed it, and used its number again."""
    own = os.dup(descriptor)
    try:
        if os.fstat(own).st_ino != inode:
            raise OSError("another one")
        line = socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
    with line:
        yield line
