"""Limits: the size of a request, the requests of a user, and the bad tokens from an address."""

import math
import time
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import structlog
from fastapi import Request
from starlette.types import Message, Receive, Scope

from backend.metrics import LIMIT_HITS
from backend.problems import Problem
from backend.settings import Limit, Settings

# Several times what a browser sends; uvicorn itself accepts much more.
MAX_HEADER_BYTES = 32 * 1024

REDIS_CONNECTIONS = 10
REDIS_TIMEOUT_SECONDS = 0.5
SECONDS_BETWEEN_TRIES = 5

log = structlog.get_logger()


def _too_large(limit: int) -> Problem:
    return Problem("BODY_TOO_LARGE", f"The body must have at most {limit} bytes.")


def bounded(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return a `receive` that allows at most `limit` bytes of body.

    Raises Problem INVALID_HEADER for headers that are too large, and BODY_TOO_LARGE, now or as the body arrives.
    """
    size, length = 0, None
    for name, value in scope["headers"]:
        if name != b"authorization":  # the token has its own limit, and an answer of its own
            size += len(name) + len(value)
        if name == b"content-length":
            length = int(value)
    if size > MAX_HEADER_BYTES:
        raise Problem("INVALID_HEADER", f"All headers together must have at most {MAX_HEADER_BYTES} bytes.")
    if length is not None:
        # uvicorn reads no more than Content-Length says, and refuses a value that is not a number.
        if length > limit:
            raise _too_large(limit)
        return receive
    received = 0

    async def receive_within_limit() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return receive_within_limit


class SharedCounts:
    """Counts in Redis, shared by every process with its URL."""

    def __init__(self, url: str) -> None:
        from limits.aio.storage import RedisStorage
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as LostConnectionError
        from redis.exceptions import RedisError

        self.errors = (RedisError, OSError)
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=REDIS_CONNECTIONS,
            timeout=REDIS_TIMEOUT_SECONDS,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            # Retry once, immediately: Redis may have closed a connection while it was idle.
            retry=Retry(NoBackoff(), 1, supported_errors=(LostConnectionError,)),
        )
        self._redis = Redis(connection_pool=self._pool)
        pool: Any = self._pool  # the library's types do not include pools
        self._storage = RedisStorage(url, implementation="redispy", key_prefix="tasks", connection_pool=pool)
        self._away = False
        self._next_try = 0.0

    async def ping(self) -> None:
        """Raise one of `errors` unless Redis answers."""
        await self._redis.ping()  # type: ignore[misc]  # typed as if it might not be a coroutine

    async def add(self, key: str, seconds: int) -> int | None:
        """Count one and return the total, or None while Redis is away.

        Then one request in five seconds tries Redis again, and the others do not wait for it.
        """
        if self._away and time.monotonic() < self._next_try:
            return None
        self._next_try = time.monotonic() + SECONDS_BETWEEN_TRIES
        try:
            count = await self._storage.incr(key, seconds)
        except self.errors as error:
            if not self._away:
                log.warning("redis_unreachable", error=type(error).__name__, effect="each process counts for itself")
            self._away = True
            return None
        if self._away:
            log.info("redis_back")
        self._away = False
        return count

    async def close(self) -> None:
        await self._pool.disconnect()


class Limiter:
    """One limit, counted for each user or address in windows of the clock: 60 seconds end with the minute.

    The counts are in Redis if it answers, else in this process. They are dropped at the end of the window, so
    they take little room (docs/decisions/0007).
    """

    def __init__(self, name: str, limit: Limit, shared: SharedCounts | None) -> None:
        self._name = name
        self._limit = limit
        self._shared = shared
        self._window = 0
        self._counts: dict[str, int] = {}
        self._policy = f'"{name}";q={limit.amount};w={limit.seconds}'.encode()

    async def count(self, who: str, headers: list[tuple[bytes, bytes]], detail: str) -> None:
        """Count one more, and put what is left into the headers (draft-ietf-httpapi-ratelimit-headers-10).

        Raises Problem RATE_LIMIT_EXCEEDED with `detail`.
        """
        now = time.time()
        window = int(now // self._limit.seconds)
        ends_in = math.ceil((window + 1) * self._limit.seconds - now)
        count = None
        if self._shared:
            count = await self._shared.add(f"{self._name}:{window}:{who}", self._limit.seconds)
        if count is None:
            if window > self._window:
                self._window, self._counts = window, {}
            count = self._counts[who] = self._counts.get(who, 0) + 1
        left = max(0, self._limit.amount - count)
        headers += [
            (b"ratelimit-policy", self._policy),
            (b"ratelimit", f'"{self._name}";r={left};t={ends_in}'.encode()),
        ]
        if count > self._limit.amount:
            LIMIT_HITS.labels(self._name).inc()
            raise Problem(
                "RATE_LIMIT_EXCEEDED", f"{detail} Try again in {ends_in} s.", headers={"Retry-After": str(ends_in)}
            )


def _network(client: tuple[str, int] | None) -> str:
    """Return the address to count: for IPv6 its /64, because a client can pick any address in its own."""
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:  # a socket without an address, or a value that a proxy passed on unchecked
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
    return str(address)


class Limits:
    """The limits of the API: requests of each user, and bad tokens from each address."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url
        self.shared = SharedCounts(url.get_secret_value()) if url else None
        self._users, self._failures = (
            limit and Limiter(name, limit, self.shared)
            for name, limit in (("user", settings.rate_limit), ("invalid-tokens", settings.auth_failure_limit))
        )

    async def count_request(self, request: Request, user_id: str) -> None:
        """Count a request of a user; raise Problem RATE_LIMIT_EXCEEDED."""
        if self._users:
            await self._users.count(user_id, request.state.headers, "You have sent too many requests.")

    async def count_failure(self, request: Request) -> None:
        """Count a bad token; raise Problem RATE_LIMIT_EXCEEDED. Good tokens always pass."""
        if self._failures:
            network = _network(request.scope.get("client"))
            await self._failures.count(network, request.state.headers, "Too many invalid tokens from your address.")

    async def close(self) -> None:
        if self.shared:
            await self.shared.close()
