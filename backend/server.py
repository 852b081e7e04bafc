"""uvicorn's server, which at its end still answers what was asked for, and those who are only just connected."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import multiprocess

# How long a connection that is open, or was just accepted, may take to send its next request. All of the end takes
# less than ten seconds, with the eight that a request in flight has.
DRAIN_SECONDS = 1.0
GRACEFUL_SHUTDOWN_SECONDS = 8
# How long a connection may be idle: longer than proxies keep theirs (60 s), because one that the server closes while
# its client sends a request is a failed request, which nobody can tell from one that was done.
KEEP_ALIVE_SECONDS = 75


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
        for listener in sockets or []:
            await self._accept_what_waits(listener)
        for server in self.servers:
            server.close()
        await self._until(lambda: all(connection.cycle is not None for connection in connections))
        await super().shutdown(sockets)

    async def _until(self, condition: Callable[[], bool]) -> None:
        ends = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while not condition() and not self.force_exit and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.01)

    async def _accept_what_waits(self, listener: socket.socket) -> None:
        """Take the connections that the kernel has accepted already, which a closed listener would reset."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            await loop.connect_accepted_socket(self._protocol, accepted)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


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
        for listener in self.sockets:
            listener.close()
        super().terminate_all()
