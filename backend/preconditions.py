"""What a request's headers ask for: a version (RFC 9110, section 13), or to be done once."""

import re
from typing import Annotated

from fastapi import Header
from pydantic.json_schema import SkipJsonSchema

from backend.problems import Problem

TAG = r'(W/)?"([\x21\x23-\x7e]*)"'
TAGS = rf"^\s*(\*|{TAG}\s*(,\s*{TAG}\s*)*)\s*$"
KEY = r"^[\x20-\x7e]{1,255}$"

# The patterns are for the description only: what breaks them is an INVALID_HEADER and no VALIDATION_ERROR.
IfMatch = Annotated[
    str | SkipJsonSchema[None],
    Header(
        description="Only if this is the task's version: an `ETag`, several with commas, or `*` for any.",
        json_schema_extra={"pattern": TAGS},
    ),
]
IfNoneMatch = Annotated[
    str | SkipJsonSchema[None],
    Header(description="Only if this is not the task's version: a 304 if it is.", json_schema_extra={"pattern": TAGS}),
]
IdempotencyKey = Annotated[
    str | SkipJsonSchema[None],
    Header(
        description="1 to 255 printable ASCII characters. A repeat with the same key makes no second task.",
        json_schema_extra={"pattern": KEY},
    ),
]


def versions(name: str, value: str, *, weak: bool) -> list[int] | None:
    """Return the versions that a list of entity tags names, None for `*`; raise Problem INVALID_HEADER.

    A weak tag counts only where the comparison is a weak one (RFC 9110, section 8.8.3.2).
    """
    if value.strip() == "*":
        return None
    if not re.match(TAGS, value, re.ASCII):
        raise Problem("INVALID_HEADER", f'{name} must be *, or ETags with commas between them, like "3".')
    tags = [tag for is_weak, tag in re.findall(TAG, value) if weak or not is_weak]
    return [int(tag) for tag in tags if re.fullmatch(r"[1-9]\d{0,8}", tag, re.ASCII)]


def matching(if_match: str | None) -> list[int] | None:
    """Return the versions that If-Match allows; None for any."""
    return None if if_match is None else versions("If-Match", if_match, weak=False)


def failed() -> Problem:
    """Return the 412: the task has another version than If-Match says, and was not touched."""
    return Problem("PRECONDITION_FAILED", "The task has changed since you read it: its version is not in If-Match.")


def not_modified(if_none_match: str | None, version: int) -> bool:
    """Return whether If-None-Match says that the caller has this version already."""
    if if_none_match is None:
        return False
    known = versions("If-None-Match", if_none_match, weak=True)
    return known is None or version in known


def idempotency_key(value: str | None) -> str | None:
    """Return the key of a request that is to be done once; raise Problem INVALID_HEADER."""
    if value is not None and not re.match(KEY, value):
        raise Problem("INVALID_HEADER", "Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return value
