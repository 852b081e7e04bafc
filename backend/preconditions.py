"""Conditional requests (RFC 9110, section 13) and the Idempotency-Key."""

import re
from typing import Any

from fastapi import Request
from pydantic import MISSING

from backend.problems import Problem

# One element of a list of entity tags, with the comma or the end behind it; read one by one, in linear time.
TAG = re.compile(r'[ \t]*(W/)?"([\x21\x23-\x7e]*)"[ \t]*(?:,|$)')
TAGS_PATTERN = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
KEY = r"[ -~]{1,255}"
MAX_VERSION = 10**9  # as many digits as are read of a tag


def _described(name: str, description: str, pattern: str) -> dict[str, Any]:
    """Describe a header for OpenAPI. Not by FastAPI's Header, which reads only the first of several lines."""
    schema = {"type": "string", "pattern": pattern}
    return {"parameters": [{"name": name, "in": "header", "description": description, "schema": schema}]}


def if_match(noun: str) -> dict[str, Any]:
    """Return the header If-Match for OpenAPI."""
    text = f"Only if this is the {noun}'s version: an `ETag`, several with commas, or `*` for any."
    return _described("If-Match", text, TAGS_PATTERN)


def if_none_match(noun: str) -> dict[str, Any]:
    """Return the header If-None-Match for OpenAPI."""
    return _described("If-None-Match", f"Only if this is not the {noun}'s version: a 304 if it is.", TAGS_PATTERN)


def idempotency_key_for(noun: str) -> dict[str, Any]:
    """Return the header Idempotency-Key for OpenAPI."""
    text = f"1 to 255 printable ASCII characters. A repeat with the same key makes no second {noun}."
    return _described("Idempotency-Key", text, f"^{KEY}$")


def _versions(request: Request, name: str) -> list[int] | None:
    """Return the versions that a header's entity tags name, None for `*`; raise Problem INVALID_HEADER."""
    value = ",".join(request.headers.getlist(name))
    if value.strip(" \t") == "*":
        return None
    versions, position = [], 0
    while position < len(value) or position == 0:
        tag = TAG.match(value, position)
        if not tag:
            raise Problem("INVALID_HEADER", f'{name} must be *, or ETags with commas between them, like "3".')
        position = tag.end()
        # A weak tag counts too, though If-Match asks for a strong comparison (RFC 9110, section 13.1.1): a proxy that
        # compresses an answer makes its ETag weak, and a client knows no other. A version names one state of the row.
        if re.fullmatch(r"[1-9]\d{0,8}", tag[2], re.ASCII):
            versions.append(int(tag[2]))
    return versions


def matching(request: Request, version: Any = MISSING) -> list[int] | None:
    """Return the versions that If-Match allows, and beside it the `version` of a body; None for any."""
    allowed = _versions(request, "If-Match") if "if-match" in request.headers else None
    if version is MISSING:
        return allowed
    return [version] if version in (range(1, MAX_VERSION) if allowed is None else allowed) else []


def known(request: Request) -> list[int] | None:
    """Return the versions that If-None-Match says the caller has; None for any."""
    return _versions(request, "If-None-Match") if "if-none-match" in request.headers else []


def failed(noun: str, version: int) -> Problem:
    """Return the 412: the row has this version, which is not the one that the request is for, and was not touched."""
    problem = Problem(
        "PRECONDITION_FAILED",
        f"The {noun} is at version {version} now, which is not the one that you name. Read it again.",
    )
    problem.version = version
    return problem


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key, None without one; raise Problem INVALID_HEADER."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not re.fullmatch(KEY, keys[0]):
        raise Problem("INVALID_HEADER", "Idempotency-Key must be one of 1 to 255 printable ASCII characters.")
    return keys[0]
