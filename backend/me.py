"""The caller, according to the token, and the end of all that the caller has here."""

from datetime import UTC, datetime
from urllib.parse import unquote

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from backend.auth import AnyUser, CurrentUser
from backend.erasure import erase
from backend.problems import Problem, responses
from backend.routing import UserRoute

router = APIRouter(prefix="/api/me", tags=["me"], route_class=UserRoute)
LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class Me(BaseModel):
    """The caller, as named by the token."""

    user_id: str = Field(description="The owner of everything created with this token.")
    email: str | None
    name: str | None
    role: str | None
    expires_at: datetime = Field(description="When the token expires.")


@router.get("", responses=responses())
async def read_me(user: AnyUser) -> Me:
    """Who you are, and when your token expires."""
    ends = min(max(user.expires_at, 0), LAST_MOMENT.timestamp())
    return Me(
        user_id=user.user_id,
        email=user.email,
        name=user.name,
        role=user.role,
        expires_at=datetime.fromtimestamp(ends, UTC),
    )


CONFIRM = {
    "name": "Confirm",
    "in": "header",
    "required": True,
    "description": "Your `user_id`, percent-encoded where it is not ASCII: nobody erases by accident.",
    "schema": {"type": "string"},
}


@router.delete(
    "", status_code=204, openapi_extra={"parameters": [CONFIRM]}, responses=responses("CONFIRMATION_REQUIRED")
)
async def erase_me(request: Request, user: CurrentUser) -> None:
    """Erase all that you have here, with its history, for good. Doing it again changes nothing.

    Your account at Better Auth stays, and so do your tokens.
    """
    said = request.headers.get("confirm", "").encode("latin-1").decode(errors="replace")
    if user.user_id not in (said, unquote(said)):
        raise Problem("CONFIRMATION_REQUIRED", "To erase all that you have, send the header Confirm: <your user id>.")
    await erase(request.app.state.erasing, user.user_id)
