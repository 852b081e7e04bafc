"""uvicorn's server, which at its end still answers what was asked for, and those who are only just connected."""

import asyncio
import ctypes
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import multiprocess

# How long a connection that is open, or was just accepted, may take to send its next request. All of the end takes
# less than ten seconds, with the seven that a request in flight has.
DRAIN_SECONDS = 1.0
HANDSHAKE_SECONDS = 0.1
GRACEFUL_SHUTDOWN_SECONDS = 7
# How long a connection may be idle: longer than proxies keep theirs (60 s), because one that the server closes while
# its client sends a request is a failed request, which nobody can tell from one that was done.
KEEP_ALIVE_SECONDS = 75
# A socket filter (classic BPF): drop a segment with the SYN flag, which is in byte 13 of its TCP header (RFC 9293,
# section 3.1), and take every other.
LOAD_FLAGS, IF_SYN, DROP, TAKE = (0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)
SO_ATTACH_FILTER = 26


def refuse_new_connections(listeners: list[socket.socket]) -> None:
    """Let the kernel begin no more handshakes, and end those it has begun; on Linux, elsewhere do nothing.

    A listener that is just closed resets whoever the kernel has accepted and the process has not. With this, its queue
    runs empty first, and whoever comes meanwhile is refused by the closed port, or taken by the next process on it,
    when their own kernel tries again.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *step) for step in (LOAD_FLAGS, IF_SYN, DROP, TAKE))
    )
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 4, ctypes.addressof(program)))


class _JoiningTransport:
    """A transport that sends at once what is written: a packet less, and an answer is there whole or not at all."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def _flush(self) -> None:
        if self._written:
            self._transport.write(b"".join(self._written))
            self._written.clear()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, which writes the head of an answer and its body one after the other."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]


class Server(uvicorn.Server):
    """A server that cuts nobody off: uvicorn itself closes connections between two requests, and resets new ones."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again at its end, which would end this process before its database.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        connections: set[Any] = self.server_state.connections
        # With each answer from now on its connection ends, in a way that its client knows of.
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(0.02)
        await self._until(lambda: not connections)
        if self.config.workers == 1:  # else the Supervisor has, when all of them end
            refuse_new_connections(sockets or [])
        await asyncio.sleep(HANDSHAKE_SECONDS)
        await self._until(lambda: all(connection.cycle is not None for connection in connections))
        await super().shutdown(sockets)

    async def _until(self, condition: Callable[[], bool]) -> None:
        ends = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while not condition() and not self.force_exit and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.01)


class Worker(multiprocess.Process):
    """One of several processes, with the server of above."""

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = Server(self.config)
        return self._server


multiprocess.Process = Worker  # type: ignore[misc]  # uvicorn knows no other way to name its workers' server


class Supervisor(multiprocess.Multiprocess):
    """What starts the workers again, and ends them."""

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            # Or what it had in use would be counted for good.
            mark_process_dead(pid)  # type: ignore[no-untyped-call]

    def terminate_all(self) -> None:
        # Or clients would be connected to a socket from which no worker takes them any more.
        refuse_new_connections(self.sockets)
        for listener in self.sockets:
            listener.close()
        super().terminate_all()
