"""The same API written the usual way, for comparison: `def` routes, a session for each request, ORM rows.

It follows the tutorials of FastAPI and SQLModel, without handicaps: the owner has an index, the token needs no query.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jose import JWTError, jwt
from sqlalchemy import TEXT, Column
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, Session, SQLModel, create_engine, desc, select

engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://"))
app = FastAPI()


class TaskBase(SQLModel):
    title: str = Field(min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=1000)
    status: str = "pending"
    priority: str = "medium"
    due_date: datetime | None = None
    recurrence_rule: str | None = None
    tags: list[str] = Field(default=[], sa_column=Column(ARRAY(TEXT)))


class Task(TaskBase, table=True):
    __tablename__ = "usual_task"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    user_id: str = Field(index=True)
    version: int = 1
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    completed_at: datetime | None = None


class TaskPublic(TaskBase):
    id: UUID
    user_id: str
    version: int
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


class TaskUpdate(SQLModel):
    title: str | None = Field(default=None, min_length=1, max_length=200)
    status: str | None = None
    priority: str | None = None


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def get_current_user(token: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    try:
        claims = jwt.decode(token.credentials, os.environ["BETTER_AUTH_SECRET"], algorithms=["HS256"])
    except JWTError:
        raise HTTPException(401) from None
    return str(claims["sub"])


Db = Annotated[Session, Depends(get_session)]
CurrentUser = Annotated[str, Depends(get_current_user)]


def own_task(session: Session, user_id: str, task_id: UUID) -> Task:
    task = session.exec(select(Task).where(Task.id == task_id, Task.user_id == user_id)).first()
    if task is None:
        raise HTTPException(404)
    return task


@app.get("/health")
def read_health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/tasks", response_model=list[TaskPublic])
def list_tasks(user_id: CurrentUser, session: Db, limit: int = 100) -> object:
    return session.exec(select(Task).where(Task.user_id == user_id).order_by(desc(Task.created_at)).limit(limit)).all()


@app.post("/api/tasks", response_model=TaskPublic, status_code=201)
def create_task(body: TaskBase, user_id: CurrentUser, session: Db) -> Task:
    task = Task(**body.model_dump(), user_id=user_id)
    session.add(task)
    session.commit()
    session.refresh(task)
    return task


@app.get("/api/tasks/{task_id}", response_model=TaskPublic)
def read_task(task_id: UUID, user_id: CurrentUser, session: Db) -> Task:
    return own_task(session, user_id, task_id)


@app.patch("/api/tasks/{task_id}", response_model=TaskPublic)
def update_task(task_id: UUID, body: TaskUpdate, user_id: CurrentUser, session: Db) -> Task:
    task = own_task(session, user_id, task_id)
    task.sqlmodel_update(body.model_dump(exclude_unset=True))
    task.version += 1
    task.updated_at = datetime.now(UTC)
    session.add(task)
    session.commit()
    session.refresh(task)
    return task
