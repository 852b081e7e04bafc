"""Changes as they happen: Server-Sent Events from the change log, for every stream that this process has open."""

import asyncio
import json
import re
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from backend.auth import Claims, CurrentUser
from backend.changes import MAX_SEQ, document, page_of, sync_statement
from backend.database import Database
from backend.metrics import STREAMS
from backend.problems import Problem, responses
from backend.revocation import Revocations
from backend.routing import UserRoute

if TYPE_CHECKING:
    from backend.bus import Bus

router = APIRouter(prefix="/api/events", tags=["changes"], route_class=UserRoute)

MAX_STREAMS = 20  # of one user in one process
PAGE = 100
SECONDS_BETWEEN_COMMENTS = 15
SECONDS_BETWEEN_LOOKS = 1
SECONDS_TO_SEND = 10
# Of the users who listen in this process, those who have a greater seq by now than it knows of.
LOOK = """
    SELECT known.user_id
    FROM unnest(%(users)s::text[], %(seqs)s::bigint[]) AS known (user_id, seq),
        LATERAL (SELECT seq FROM change WHERE user_id = known.user_id ORDER BY seq DESC LIMIT 1) AS newest
    WHERE newest.seq > known.seq
"""
HEADERS = {"X-Accel-Buffering": "no"}  # nginx passes on at once what it gets

NOW = MAX_SEQ  # the place of a stream that does not go on from another one

Page = tuple[int, bytes, bool]


class Channel:
    """The open streams of one user, and what wakes them."""

    def __init__(self, db: Database, user_id: str) -> None:
        self._db, self._user_id = db, user_id
        self.streams: set[Stream] = set()
        self.woken = asyncio.get_running_loop().create_future()
        self._pages: dict[int, asyncio.Task[Page]] = {}

    @property
    def seq(self) -> int:
        """How far the hindmost stream is."""
        return min(stream.seq for stream in self.streams)

    def wake(self) -> None:
        """Let every stream look for what is new."""
        self.woken.set_result(None)
        self.woken = asyncio.get_running_loop().create_future()
        self._pages = {}  # one that is being read may not have it yet

    async def page_after(self, place: int) -> Page:
        """Return the seq to go on from, the event with the changes since then, and whether there are more.

        Streams that are at the same place share one statement. Raises Problem.
        """
        reading = self._pages.get(place)
        if reading is None:
            reading = self._pages[place] = asyncio.create_task(self._read(place))
            reading.add_done_callback(self._forget)
        return await asyncio.shield(reading)

    def _forget(self, reading: asyncio.Task[Page]) -> None:
        self._pages = {place: each for place, each in self._pages.items() if each is not reading}
        reading.exception()  # each stream has met it; if all have gone, nobody needs to

    async def _read(self, place: int) -> Page:
        rows = await self._db.run(sync_statement(), self._user_id, repeatable=True, _since=place, _limit=PAGE)
        following, changed = (rows[0][0], []) if place == NOW else page_of(rows, place, PAGE)
        return following, _event("change", document(following, changed), following), following < rows[0][0]


class Live:
    """Every stream of one process, and what tells them of changes: this process, the database, or Redis."""

    def __init__(self, revocations: Revocations) -> None:
        self.revocations = revocations
        revocations.on_news = self._end_revoked
        self._channels: dict[str, Channel] = {}
        self._looking: asyncio.Task[None] | None = None
        self.ended = False

    @asynccontextmanager
    async def running(self, db: Database, bus: "Bus | None") -> AsyncIterator[None]:
        """Serve the streams of an application with this database, until it ends or the process is told to."""
        self._db, self._loop = db, asyncio.get_running_loop()
        self.ended = False
        self._bus = bus
        if bus:
            bus.hears["changed"] = self._wake
        db.on_change = self._changed
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            # A server ends its lifespan when every request has been answered, and so would wait for the streams.
            before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
            for number, handler in before.items():
                signal.signal(number, self._on_signal(handler))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._end()

    def _on_signal(self, handler: Any) -> Any:
        def end(number: int, frame: Any) -> None:
            self.end()
            if callable(handler):
                handler(number, frame)

        return end

    def end(self) -> None:
        """End every stream, with an event that says so. From any thread."""
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.ended = True
        for channel in self._channels.values():
            channel.wake()
        self._stop_looking()

    def _end_revoked(self) -> None:
        """Wake the streams whose tokens have been revoked, so that each ends."""
        for channel in self._channels.values():
            if any(self.revocations.revokes(stream.claims) for stream in channel.streams):
                channel.wake()

    def join(self, stream: "Stream", user_id: str) -> Channel:
        """Return the user's channel, with this stream in it; raise Problem TOO_MANY_STREAMS."""
        channel = self._channels.setdefault(user_id, Channel(self._db, user_id))
        if len(channel.streams) >= MAX_STREAMS:
            raise Problem(
                "TOO_MANY_STREAMS",
                f"You have {MAX_STREAMS} streams open. Close one first.",
                headers={"Retry-After": str(SECONDS_BETWEEN_COMMENTS)},
            )
        channel.streams.add(stream)
        STREAMS.inc()
        if not self._looking and not self.ended:
            self._looking = asyncio.create_task(self._look())
        return channel

    def leave(self, stream: "Stream", user_id: str) -> None:
        """Forget a stream."""
        STREAMS.dec()
        self._channels[user_id].streams.remove(stream)
        if not self._channels[user_id].streams:
            del self._channels[user_id]
        if not self._channels:
            self._stop_looking()

    def _stop_looking(self) -> None:
        if self._looking:
            self._looking.cancel()
        self._looking = None

    def _wake(self, user_id: str) -> None:
        if channel := self._channels.get(user_id):
            channel.wake()

    def _changed(self, user_id: str) -> None:
        """Tell the user's streams, here and in other processes, of a change that this process has made."""
        self._wake(user_id)
        if self._bus:
            self._bus.say("changed", user_id)

    async def _look(self) -> None:
        """Look into the database once a second: what other processes did, of all who listen here. Never returns."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            self.revocations.stay_awake()
            seqs = {user_id: channel.seq for user_id, channel in self._channels.items()}
            with suppress(Problem):  # the database is away, and is looked into again
                rows = await self._db.run_as_keeper(LOOK, repeatable=True, users=list(seqs), seqs=list(seqs.values()))
                for (user_id,) in rows:
                    self._wake(user_id)


def _event(name: str, data: str, seq: int | None = None) -> bytes:
    """Return an event (HTML standard, section 9.2): its data is on one line, as JSON may be."""
    number = "" if seq is None else f"id: {seq}\n"
    line = data.translate({10: " ", 13: " "})
    return f"{number}event: {name}\ndata: {line}\n\n".encode()


class Stream(Response):
    """One open stream. Of what its reader has not taken it holds one event, and of what is to come only the place."""

    media_type = "text/event-stream"

    def __init__(self, live: Live, claims: Claims, seq: int) -> None:
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)
        self._live, self.claims, self._user_id = live, claims, claims.user_id
        self.seq = seq

    async def begin(self) -> "Stream":
        """Read the first page, so that a seq that is not kept is an answer of its own; raise Problem."""
        self._channel = self._live.join(self, self._user_id)
        self._woken = self._channel.woken
        try:
            self.seq, self._first, self._more = await self._channel.page_after(self.seq)
        except BaseException:
            self._live.leave(self, self._user_id)
            raise
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["is_stream"] = True
        self._send = send
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._write(self._first)
            del self._first
            if reason := await self._follow(gone):
                await self._write(_event("end", json.dumps({"reason": reason})), more=False)
        except TimeoutError:
            raise ClientDisconnect from None  # too slow: it comes back, and goes on from what it has
        finally:
            gone.cancel()
            self._live.leave(self, self._user_id)

    async def _follow(self, gone: asyncio.Task[None]) -> str | None:
        """Send what happens, and return why it ends; None if the reader has gone."""
        while not gone.done():
            left = self.claims.expires_at - time.time()
            if self._live.ended:
                return "shutdown"
            if self._live.revocations.revokes(self.claims):
                return "token_revoked"
            if left <= 0:
                return "token_expired"
            if not self._more and not self._woken.done():
                done, _ = await asyncio.wait(
                    {gone, self._woken}, timeout=min(left, SECONDS_BETWEEN_COMMENTS), return_when="FIRST_COMPLETED"
                )
                if not done and left > SECONDS_BETWEEN_COMMENTS:
                    await self._write(b":\n\n")
                continue
            self._woken = self._channel.woken
            try:
                seq, event, self._more = await self._channel.page_after(self.seq)
            except Problem as problem:
                if problem.code == "CHANGES_NOT_KEPT":
                    return "changes_not_kept"
                self._more = True  # the database is away: ask again
                await asyncio.wait({gone}, timeout=SECONDS_BETWEEN_LOOKS)
                continue
            if seq > self.seq:
                self.seq = seq
                await self._write(event)
        return None

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SECONDS_TO_SEND):
            await self._send({"type": "http.response.body", "body": data, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _last_event_id(request: Request) -> int:
    """Return the place that a stream goes on from; raise Problem INVALID_HEADER."""
    said = request.headers.get("last-event-id")
    if not said:
        return NOW
    if not re.fullmatch(r"\d{1,19}", said, re.ASCII) or int(said) >= MAX_SEQ:
        raise Problem("INVALID_HEADER", "Last-Event-ID must be the id of an event of this stream.")
    return int(said)


EVENTS = {
    "description": "`change`: what `GET /api/changes` answers, in `data`, with its `seq` as `id`; the first one comes "
    "at once. `end`: why it ends, in `data`: the `reason` is `token_expired`, `token_revoked`, `shutdown` or "
    "`changes_not_kept`. A comment every 15 s.",
    "content": {
        "text/event-stream": {"schema": {"type": "string"}},
    },
}
LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last event that was read: what was changed since then comes first.",
    "schema": {"type": "string", "pattern": r"^\d{0,18}$"},
}


@router.get(
    "",
    response_model=None,
    responses={200: EVENTS, **responses("INVALID_HEADER", "CHANGES_NOT_KEPT", "TOO_MANY_STREAMS")},
    openapi_extra={"parameters": [LAST_EVENT_ID]},
)
async def stream_events(request: Request, user: CurrentUser) -> Stream:
    """What is changed from now on, as it happens (Server-Sent Events).

    Each event is what `GET /api/changes` would answer, so that a client that was away goes on from its last `id`, by
    `Last-Event-ID` here or by `since` there. The token's end ends the stream.
    """
    return await Stream(request.app.state.live, user, _last_event_id(request)).begin()
