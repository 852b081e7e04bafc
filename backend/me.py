"""The caller, according to the token."""

from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backend.auth import AnyUser
from backend.problems import responses
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
