"""What a request may cost: the size of its body."""

from starlette.types import Message, Receive, Scope

from backend.problems import Problem


def _too_large(limit: int) -> Problem:
    return Problem("BODY_TOO_LARGE", f"The body is larger than the {limit} bytes that this API takes.")


def bounded(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return `receive` for a body of at most `limit` bytes; raise Problem BODY_TOO_LARGE, now or as it arrives."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            # The server takes no more of a body than its Content-Length, and none whose value is no number.
            if int(value) > limit:
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
