"""Reading Server-Sent Events in a test: one by one, as they come."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

Event = dict[str, Any]


class Reader:
    """The events of one stream, one by one. A comment is an event without anything in it."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def next(self) -> Event:
        """Return the next event, or fail if the stream has ended."""
        event: Event = {}
        for line in self._lines:
            if not line:
                return event
            name, _, value = line.partition(": ")
            if name.strip(":"):
                event[name] = json.loads(value) if name == "data" else value
        raise EOFError

    def change(self) -> Event:
        """Return the next event that is no comment."""
        while not (event := self.next()):
            pass
        return event

    def ends(self) -> bool:
        try:
            self.next()
        except (EOFError, httpx.RemoteProtocolError):
            return True
        return False


@contextmanager
def stream(client: httpx.Client, last: int | str | None = None) -> Iterator[Reader]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with client.stream("GET", "/api/events", headers=headers, timeout=60) as answer:
        if answer.status_code != 200:
            answer.read()
        yield Reader(answer)
