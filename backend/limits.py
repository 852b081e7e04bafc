"""What a request may cost: the size of its headers and of its body."""

from starlette.types import Message, Receive, Scope

from backend.problems import Problem

# Several times what a browser sends; the server itself takes much more.
MAX_HEADER_BYTES = 32 * 1024


def _too_large(limit: int) -> Problem:
    return Problem("BODY_TOO_LARGE", f"The body is larger than the {limit} bytes that this API takes.")


def bounded(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return `receive` for a body of at most `limit` bytes.

    Raises Problem INVALID_HEADER for headers beyond their limit, and BODY_TOO_LARGE, now or as the body arrives.
    """
    size, length = 0, None
    for name, value in scope["headers"]:
        if name != b"authorization":  # which has a limit of its own, and is a 401 beyond it
            size += len(name) + len(value)
        if name == b"content-length":
            length = int(value)
    if size > MAX_HEADER_BYTES:
        raise Problem(
            "INVALID_HEADER", f"The headers are larger than the {MAX_HEADER_BYTES} bytes that this API takes."
        )
    if length is not None:
        # The server takes no more of a body than its Content-Length, and none whose value is no number.
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
