"""A proxy before PostgreSQL that shows what passes: every message a client sends, and where they can be cut off."""

import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import httpx

READ = b"LEFT JOIN revocation ON number"


class Wire:
    """Forwards connections on a port of 127.0.0.1 to a server, and keeps the text of each simple query.

    A process reads revocations whether or not anybody asks for anything, and on its own connection: those are counted.
    """

    def __init__(self, server: str) -> None:
        self._address = _address_of(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._clients: list[socket.socket] = []
        self.queries: list[str] = []
        self.reads = 0
        self.swallow_from: str | None = None  # the answer to the next query with this in it, and its connection
        self._plugged = threading.Event()
        self._plugged.set()
        self.url = str(httpx.URL(server).copy_with(host="127.0.0.1", port=self._listener.getsockname()[1], query=None))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._plugged.wait()
                server = socket.socket(socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET)
                self._sockets.append(server)
                server.connect(self._address)
                self._clients.append(client)
                cut = threading.Event()
                threading.Thread(target=self._forward, args=(client, server, cut, self._read(cut)), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, cut, None), daemon=True).start()

    def _forward(
        self, source: socket.socket, target: socket.socket, cut: threading.Event, reader: Generator[None, bytes] | None
    ) -> None:
        if reader:
            next(reader)
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._plugged.is_set():
                    continue
                if reader:
                    reader.send(data)
                elif cut.is_set():
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _read(self, cut: threading.Event) -> Generator[None, bytes]:
        """Take the bytes that a client sends apart into messages (PostgreSQL manual, "Message Formats")."""
        buffer = b""
        typed = False  # the first message of a connection has no type; TLS is asked for in one of its own
        while True:
            while len(buffer) >= (5 if typed else 4):
                length = int.from_bytes(buffer[typed : 4 + typed]) + typed
                if len(buffer) < length:
                    break
                message, buffer = buffer[:length], buffer[length:]
                if typed and message[:1] == b"Q":
                    if READ in message:
                        self.reads += 1
                        continue
                    self.queries.append(message[5:-1].decode())
                    if self.swallow_from is not None and self.swallow_from in self.queries[-1]:
                        self.swallow_from = None
                        cut.set()
                elif typed and message[:1] in b"PBE":
                    self.queries.append(f"extended protocol: {message!r}")
                typed = typed or message[4:8] == (196608).to_bytes(4)
            buffer += yield

    def unplug(self) -> None:
        """Let nothing pass any more, and tell nobody."""
        self._plugged.clear()

    def plug_in(self) -> None:
        """Let new connections pass; the old ones are gone, for bytes of them were lost."""
        for each in self._sockets:
            each.close()
        self._plugged.set()

    def cut_clients(self) -> None:
        """End the connections of the clients; the server is not told."""
        for client in self._clients:
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._plugged.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends an accept() that waits
        self._accepting.join()
        self._listener.close()
        for each in self._sockets:
            each.close()


def _address_of(url: str) -> str | tuple[str, int]:
    parts = urlsplit(url)
    port = parts.port or 5432
    folder = parse_qs(parts.query).get("host", [""])[0]
    return f"{folder}/.s.PGSQL.{port}" if folder.startswith("/") else (parts.hostname or "127.0.0.1", port)


@contextmanager
def tapped(server: str) -> Iterator[Wire]:
    wire = Wire(server)
    try:
        yield wire
    finally:
        wire.close()
