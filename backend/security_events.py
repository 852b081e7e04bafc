"""Security events: what Better Auth tells of sessions and users that have ended, as signed tokens (RFC 8417, 8935)."""

import json
import re
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from backend.auth import LEEWAY_SECONDS, TokenError, Verifier, is_id, is_meant_for, moment, opened, with_fresh_keys
from backend.database import Db
from backend.erasure import erase
from backend.limits import Limits
from backend.problems import MEDIA_TYPE, SCHEMA_REF, Problem
from backend.revocation import Revocations

router = APIRouter(prefix="/api/security-events", tags=["security events"])

TYPE = "secevent+jwt"
MAX_AGE_SECONDS = 10 * 60
SESSION_REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
ACCOUNT_DISABLED = "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
ACCOUNT_PURGED = "https://schemas.openid.net/secevent/risc/event-type/account-purged"
EVENTS = (SESSION_REVOKED, ACCOUNT_DISABLED, ACCOUNT_PURGED)
# RFC 8935, section 2.4, by the reason of a TokenError; of any other it is invalid_request.
ERRORS = {
    "unknown_kid": "invalid_key",
    "algorithm": "invalid_key",
    "signature": "authentication_failed",
    "issuer": "invalid_issuer",
    "audience": "invalid_audience",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """A verified event: about one user, or about one session, and since when (`issued_at`, in seconds since 1970)."""

    issuer: str
    jti: str
    issued_at: float
    types: tuple[str, ...]
    user_id: str | None
    session_id: str | None


def verify_event(token: str, verifier: Verifier) -> SecurityEvent:
    """Return what a security event token says, or raise TokenError. No other function decides.

    Its type keeps it apart from access tokens: neither is ever taken for the other (RFC 8417, section 4.6).
    """
    _, claims = opened(token, verifier, (TYPE,))
    now, issuer = time.time(), claims.get("iss")
    issued_at, expires_at = (moment(claims, name) for name in ("iat", "exp"))
    issuers = (*verifier.issuers, *verifier.oauth_issuers)
    if issuer not in issuers:
        raise TokenError("issuer", f"The iss claim must be {' or '.join(issuers) or 'set here, by JWT_ISSUER'}.")
    if not is_meant_for(verifier.audiences, claims.get("aud")):
        raise TokenError("audience", f"The aud claim must be {' or '.join(verifier.audiences)}.")
    if issued_at is None or not -MAX_AGE_SECONDS <= issued_at - now <= LEEWAY_SECONDS:
        raise TokenError("iat", f"The iat claim must be a moment of the last {MAX_AGE_SECONDS // 60} minutes.")
    if expires_at is not None and expires_at + LEEWAY_SECONDS <= now:
        raise TokenError("exp", "The exp claim has passed.")
    if not is_id(claims.get("jti")):
        raise TokenError("jti", "The jti claim must be 1 to 255 characters without control characters.")
    if "sub" in claims:
        raise TokenError("sub", "The token has a sub claim, which belongs into sub_id.")
    events = claims.get("events")
    types = tuple(name for name in EVENTS if isinstance(events, dict) and isinstance(events.get(name), dict))
    if not types:
        raise TokenError("events", f"The events claim must hold one of {', '.join(EVENTS)}, with an object.")
    user_id, session_id = _subject(claims.get("sub_id"), issuers)
    if session_id is not None and types != (SESSION_REVOKED,):
        raise TokenError("sub_id", "The sub_id claim names a session, and the event is about a user.")
    return SecurityEvent(issuer, claims["jti"], issued_at, types, user_id, session_id)


def _subject(said: object, issuers: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Return the user or the session that a `sub_id` names (RFC 9493, sections 3.2.3 and 3.2.5)."""
    subject: dict[str, Any] = said if isinstance(said, dict) else {}
    match subject.get("format"):
        case "iss_sub" if subject.get("iss") in issuers and is_id(subject.get("sub")):
            return subject["sub"], None
        case "opaque" if is_id(subject.get("id")):
            return None, subject["id"]
    raise TokenError(
        "sub_id", 'The sub_id claim must be {"format": "iss_sub", "iss": …, "sub": …} or {"format": "opaque", "id": …}.'
    )


def _refusal(error: TokenError) -> Response:
    body = {"err": ERRORS.get(error.reason, "invalid_request"), "description": str(error)}
    return Response(json.dumps(body), 400, {"Content-Language": "en"}, "application/json")


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            f"application/{TYPE}": {
                "schema": {"type": "string", "format": "binary", "description": "A Security Event Token, as it is."}
            }
        },
    }
}


class RefusedEvent(BaseModel):
    """Why an event is refused."""

    err: str = Field(json_schema_extra={"enum": list(dict.fromkeys(["invalid_request", *ERRORS.values()]))})
    description: str


REFUSED: dict[str, Any] = {
    "model": RefusedEvent,
    "description": "The event is refused, for good (RFC 8935, section 2.4).",
}
OTHERS = {
    413: "The body is too large (`BODY_TOO_LARGE`).",
    415: "Another `Content-Type` (`UNSUPPORTED_MEDIA_TYPE`).",
    429: "Too many bad events from one address (`RATE_LIMIT_EXCEEDED`).",
    503: "Send it again in a moment (`DATABASE_UNAVAILABLE`, `AUTH_KEYS_UNAVAILABLE`, `OVERLOADED`).",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    400: REFUSED,
    **{
        status: {"description": said, "content": {MEDIA_TYPE: {"schema": SCHEMA_REF}}}
        for status, said in OTHERS.items()
    },
}


@router.post("", status_code=202, openapi_extra=BODY, responses=RESPONSES, response_class=Response)
async def take_event(request: Request, db: Db) -> Response:
    """Take a Security Event Token (RFC 8417, pushed by RFC 8935), signed with the keys that tokens are verified with.

    `session-revoked` ends the tokens of a session, or those that a user was issued until then; so does
    `account-disabled`; `account-purged` erases all that the user has here, too. A `jti` that comes again does nothing.
    """
    if not re.match(rf"application/{re.escape(TYPE)}\s*(;|$)", request.headers.get("content-type", ""), re.IGNORECASE):
        raise Problem("UNSUPPORTED_MEDIA_TYPE", f"Send the token alone, with Content-Type: application/{TYPE}.")
    token = (await request.body()).decode("ascii", "replace").strip()
    verifier: Verifier = request.app.state.verifier
    try:
        event = await with_fresh_keys(verify_event, token, verifier)
    except TokenError as error:
        log.warning("security_event_refused", reason=error.reason, client=request.client and request.client.host)
        limits: Limits = request.app.state.limits
        await limits.count_failure(request)
        return _refusal(error)
    revocations: Revocations = request.app.state.revocations
    about = {"user_id": event.user_id, "session_id": event.session_id}
    erases = await revocations.add(
        db, issuer=event.issuer, jti=event.jti, issued_at=event.issued_at, **about, erases=ACCOUNT_PURGED in event.types
    )
    log.info("security_event", events=[name.rpartition("/")[2] for name in event.types], **about)
    if erases and event.user_id is not None:
        purge = partial(erase, request.app.state.erasing, event.user_id, purged=True)
        await purge()
        revocations.once_all_know(purge)  # what other processes let in meanwhile
    return Response(status_code=202)
