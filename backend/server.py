"""uvicorn's server with a graceful shutdown: requests in flight and freshly accepted connections are answered."""

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

# How long an open or just accepted connection has to send its next request. With the seven seconds of a request in
# flight, the whole shutdown takes less than ten.
DRAIN_SECONDS = 1.0
HANDSHAKE_SECONDS = 0.1
GRACEFUL_SHUTDOWN_SECONDS = 7
# How long a connection may be idle: longer than proxies keep theirs (60 s). If the server closes it just as a request
# arrives, the client cannot tell whether the request was carried out.
KEEP_ALIVE_SECONDS = 75
# How long a client has to read the end of an answer whose connection is closed.
SECONDS_TO_READ = 30
# What is read of a head before the API says what is wrong with it, which allows much less.
MAX_HEAD_BYTES = 1024 * 1024
HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
# A socket filter (classic BPF, docs/decisions/0011): drop segments with the SYN flag, in byte 13 of the TCP header
# (RFC 9293, section 3.1), and take all others.
LOAD_FLAGS, IF_SYN, DROP, TAKE = (0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)
SO_ATTACH_FILTER = 26


def refuse_new_connections(listeners: list[socket.socket]) -> None:
    """On Linux, make the kernel start no new handshakes and finish those it has started; elsewhere do nothing.

    Closing a listener resets the connections in its queue, which the kernel has accepted and the process has not.
    With the filter the queue runs empty first. A client that comes meanwhile sends its SYN again: then the port is
    closed and refuses it, or another process listens there and accepts it.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *step) for step in (LOAD_FLAGS, IF_SYN, DROP, TAKE))
    )
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 4, ctypes.addressof(program)))


class _JoiningTransport:
    """Buffers writes for one loop tick, so that head and body leave in one packet (docs/decisions/0012)."""

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
        if self._transport.get_write_buffer_size():  # the client does not read: nobody waits for it for ever
            self._loop.call_later(SECONDS_TO_READ, self._transport.abort)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which writes head and body one after the other, on a transport that joins them.

    Its parser takes the square of the time for a long header, so that one of 32 MB would stop everybody for seconds.
    """

    _head: int | None = None  # bytes of the head that is being read, if one is

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        # Who speaks, for each request of the connection: uvicorn writes whom a proxy names in its place.
        self.app_state = {**self.app_state, "peer": self.client[0] if self.client else None}

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            if self._head > MAX_HEAD_BYTES:
                self.transport.write(HEAD_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)


class Server(uvicorn.Server):
    """Cuts nobody off at shutdown, where uvicorn closes connections between two requests and resets new ones."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's version raises the signal again at the end, which would kill this process before its database stops.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        connections: set[Any] = self.server_state.connections
        # From now on each answer tells its client that the connection closes.
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(0.02)
        await self._until(lambda: not connections)
        if self.config.workers == 1:  # with more, the Supervisor does it when all of them end
            refuse_new_connections(sockets or [])
        await asyncio.sleep(HANDSHAKE_SECONDS)
        await self._until(lambda: all(connection.cycle is not None for connection in connections))
        await super().shutdown(sockets)

    async def _until(self, condition: Callable[[], bool]) -> None:
        ends = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while not condition() and not self.force_exit and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.01)


class Worker(multiprocess.Process):
    """One of several processes, running the Server above."""

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = Server(self.config)
        return self._server


multiprocess.Process = Worker  # type: ignore[misc]  # the only way to give workers this Server (docs/decisions/0013)


class Supervisor(multiprocess.Multiprocess):
    """Restarts workers that died, and stops all of them at the end."""

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            # Otherwise its connections in use would be counted forever.
            mark_process_dead(pid)  # type: ignore[no-untyped-call]

    def terminate_all(self) -> None:
        # Close the listeners first, or the kernel accepts connections that no worker serves.
        refuse_new_connections(self.sockets)
        for listener in self.sockets:
            listener.close()
        super().terminate_all()
