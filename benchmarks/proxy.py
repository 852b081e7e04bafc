"""A network between API and database: a proxy that delays bytes and counts round trips."""

import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit


class Network:
    """Forwards connections on a port of 127.0.0.1 to PostgreSQL's socket; each way takes half of `round_trip_ms`.

    It uses threads, because an event loop's timers are a millisecond off.
    """

    def __init__(self, server: str, round_trip_ms: float) -> None:
        self.round_trips = 0
        parts = urlsplit(server)
        self._database = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.{parts.port or 5432}"
        self._delay = round_trip_ms / 2000
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://{parts.username}@127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            database = socket.socket(socket.AF_UNIX)
            database.connect(self._database)
            asked = threading.Event()  # a request of the client is unanswered

            def count(asked: threading.Event = asked) -> None:
                self.round_trips += asked.is_set()
                asked.clear()

            self._forward(client, database, asked.set)
            self._forward(database, client, count)

    def _forward(self, source: socket.socket, target: socket.socket, note: Callable[[], None]) -> None:
        on_the_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def take() -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    note()
                    on_the_way.put((time.perf_counter() + self._delay, data))
            on_the_way.put((0, b""))

        def give() -> None:
            with suppress(OSError):
                while data := (arrival := on_the_way.get())[1]:
                    time.sleep(max(0, arrival[0] - time.perf_counter()))
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        for work in (take, give):
            threading.Thread(target=work, daemon=True).start()
