"""What processes tell each other by Redis: who has changes, and of revocations. A lost one does no harm."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex

from redis.asyncio import Redis
from redis.exceptions import RedisError

CHANNEL = "tasks:changes"
TIMEOUT_SECONDS = 0.5
SECONDS_BETWEEN_TRIES = 1
AWAY = (RedisError, OSError)
NONSENSE = (ValueError, LookupError, TypeError, RecursionError)  # that somebody else has put on the channel


class Bus:
    """One process's end of it. It belongs to one event loop."""

    def __init__(self, url: str) -> None:
        self._speaking = Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
        self._hearing = Redis.from_url(url)
        self._me = token_hex(8)
        self._unsaid: set[tuple[str, str]] = set()
        self._saying: asyncio.Task[None] | None = None
        self.hears: dict[str, Callable[[str], object]] = {}  # by the topic: what is called with each word on it

    def say(self, topic: str, word: str = "") -> None:
        """Tell the other processes; what is said in one moment goes in one message."""
        self._unsaid.add((topic, word))
        if self._saying is None or self._saying.done():
            self._saying = asyncio.create_task(self._say())

    async def _say(self) -> None:
        while self._unsaid:
            message = json.dumps({"from": self._me, "said": list(self._unsaid)})
            self._unsaid.clear()
            with suppress(*AWAY):
                await self._speaking.publish(CHANNEL, message)

    async def listen(self) -> None:
        """Hear what other processes say; never returns."""
        while True:
            with suppress(*AWAY):
                async with self._hearing.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(CHANNEL)
                    async for message in subscription.listen():
                        with suppress(*NONSENSE):
                            said = json.loads(message["data"])
                            for topic, word in said["said"] if said["from"] != self._me else ():
                                self.hears[topic](word)
            await asyncio.sleep(SECONDS_BETWEEN_TRIES)

    async def close(self) -> None:
        if self._saying:
            await self._saying
        await self._speaking.aclose()
        await self._hearing.aclose()
