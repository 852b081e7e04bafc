"""The middleware: request id, access log, headers, and the last resort for an error, in one pass over each request."""

import re
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend import metrics, pages
from backend.database import AUTHOR, Author
from backend.limits import bounded
from backend.problems import Problem, internal_error
from backend.settings import prefix_of

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
ALIAS = "/api/v1/"
# Security headers: nosniff and no referrer; an empty policy and no-store but for the pages of documentation.
ALWAYS = [
    (b"api-version", b"1"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
HEADERS = [
    *ALWAYS,
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
HEADERS_OF_PAGES = {path: [*ALWAYS, *own] for path, own in pages.headers().items()}

log = structlog.get_logger()


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if REQUEST_ID.fullmatch(given) else str(uuid7())


def _where(error: BaseException) -> list[str]:
    """Return where an error was raised, without its message, which can quote what a user sent."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def _without_traceback(send: Send) -> Send:
    """Return `send` for a lifespan: Starlette reports a failed start as a traceback, whose end is all that helps."""

    async def send_reason(message: Message) -> None:
        _, is_ours, reason = message.get("message", "").partition("StartError: ")
        await send({**message, "message": reason.strip()} if is_ours else message)

    return send_reason


def _head_alone(send: Send) -> Send:
    """Return a `send` for HEAD: the head of an answer, and its end. A stream is stopped before its body begins."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body"})
        elif message.get("more_body"):
            raise ClientDisconnect

    return send_head


def _actor(claims: Any) -> dict[str, str]:
    """Return who acts for the user, where somebody does."""
    return {"acted_by": claims.acted_by} if claims and claims.acted_by else {}


def _as_it_is(app: ASGIApp) -> ASGIApp:
    return app


class RequestMiddleware:
    """Give each request an id, a line in the access log, and an answer even if the code below fails."""

    def __init__(
        self,
        app: ASGIApp,
        body_limit: Callable[[str], int],
        cors: Callable[[ASGIApp], ASGIApp],
        *,
        root_path: str,
        proxies: str,
        access_log: bool,
    ) -> None:
        self.app = app
        self.root_path = root_path
        self.proxies = ProxyHeadersMiddleware(app, proxies).trusted_hosts  # type: ignore[arg-type]
        self.cors = cors
        self.body_limit = body_limit
        self.access_log = access_log  # known beforehand, because structlog makes a logger before it looks at the level

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, _without_traceback(send))
            return
        started = time.perf_counter()
        headers, method = dict(scope["headers"]), scope["method"]
        given = scope.get("root_path", "")  # uvicorn's --root-path, which it has put in front of the path
        path = scope["path"].removeprefix(given) if given else scope["path"]
        if method == "HEAD":  # it is the GET of the same path (RFC 9110, section 9.3.2)
            scope, send = {**scope, "method": "GET"}, _head_alone(send)
        request_id = _request_id(headers)
        own_headers = [(b"x-request-id", request_id.encode()), *HEADERS]
        state = scope.setdefault("state", {})
        root = given or self.root_path
        if b"x-forwarded-prefix" in headers:
            root = self._forwarded_prefix(state, headers[b"x-forwarded-prefix"]) or root
        state.update(request_id=request_id, prefix=f"{root}/api", headers=own_headers)
        inner = path
        if path.startswith(ALIAS):
            state["prefix"] = f"{root}/api/v1"
            inner = "/api/" + path.removeprefix(ALIAS)
        if root or inner is not path:
            scope["root_path"], scope["path"] = root, root + inner
        structlog.contextvars.bind_contextvars(request_id=request_id)
        AUTHOR.set(Author(request_id, None, own_headers))  # whom the token names is added with it
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == 200 and path in HEADERS_OF_PAGES:  # an error must not be kept for a year
                    own_headers[1:] = HEADERS_OF_PAGES[path]
                message["headers"] = [*message["headers"], *own_headers]
            await send(message)

        # CORS is for browsers, which say where a request comes from; answers made here must be readable to them too.
        crossing = self.cors if b"origin" in headers else _as_it_is
        try:
            receive = bounded(scope, receive, self.body_limit(inner))
            await crossing(self.app)(scope, receive, send_with_headers)
        except Problem as problem:  # of this middleware; the application answers its own
            await crossing(problem.response(request_id))(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # the client has gone
        except Exception as error:
            log.error("internal_error", error=type(error).__name__, where=_where(error))
            if not status:
                await crossing(internal_error().response(request_id))(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            metrics.request_ended(scope, method, status, seconds)
            if self.access_log:
                log.info(
                    "request",
                    method=method,
                    path=path,
                    status=status,
                    duration_ms=round(seconds * 1000, 2),
                    client=scope["client"][0] if scope.get("client") else None,
                    user_id=scope["state"].get("user_id"),
                    **_actor(scope["state"].get("claims")),
                )

    def _forwarded_prefix(self, state: Mapping[str, Any], value: bytes) -> str | None:
        """Return the prefix that a proxy has stripped, if it is one of FORWARDED_ALLOW_IPS that says so."""
        return prefix_of(value.decode("latin-1")) if state.get("peer") in self.proxies else None
