"""Conditional requests (RFC 9110, section 13) and the Idempotency-Key."""

import re
from typing import Any

from fastapi import Request

from backend.problems import Problem

# One element of a list of entity tags, with the comma or the end behind it; read one by one, in linear time.
TAG = re.compile(r'[ \t]*(W/)?"([\x21\x23-\x7e]*)"[ \t]*(?:,|$)')
TAGS_PATTERN = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
KEY = r"[ -~]{1,255}"


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


def _versions(request: Request, name: str, *, weak: bool) -> list[int] | None:
    """Return the versions that a header's entity tags name, None for `*`; raise Problem INVALID_HEADER.

    A weak tag counts only where the comparison is a weak one (RFC 9110, section 8.8.3.2).
    """
    value = ",".join(request.headers.getlist(name))
    if value.strip(" \t") == "*":
        return None
    versions, position = [], 0
    while position < len(value) or position == 0:
        tag = TAG.match(value, position)
        if not tag:
            raise Problem("INVALID_HEADER", f'{name} must be *, or ETags with commas between them, like "3".')
        position = tag.end()
        if (weak or not tag[1]) and re.fullmatch(r"[1-9]\d{0,8}", tag[2], re.ASCII):
            versions.append(int(tag[2]))
    return versions


def matching(request: Request) -> list[int] | None:
    """Return the versions that If-Match allows; None for any."""
    return _versions(request, "If-Match", weak=False) if "if-match" in request.headers else None


def known(request: Request) -> list[int] | None:
    """Return the versions that If-None-Match says the caller has; None for any."""
    return _versions(request, "If-None-Match", weak=True) if "if-none-match" in request.headers else []


def failed(noun: str) -> Problem:
    """Return the 412: the row has another version than If-Match says, and was not touched."""
    return Problem("PRECONDITION_FAILED", f"The {noun} has changed since you read it: its version is not in If-Match.")


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key, None without one; raise Problem INVALID_HEADER."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not re.fullmatch(KEY, keys[0]):
        raise Problem("INVALID_HEADER", "Idempotency-Key must be one of 1 to 255 printable ASCII characters.")
    return keys[0]
