"""Runs of a test suite, and the results of their cases: two tables of your own (docs/resources.md)."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from sqlmodel import Field

from backend.fields import MaxBytes, TrimmedText
from backend.resources import BelongsTo, Owned, Resource


class Progress(StrEnum):
    pending = "pending"
    running = "running"
    passed = "passed"
    failed = "failed"


class Outcome(StrEnum):
    passed = "passed"
    failed = "failed"
    skipped = "skipped"


class TestExecution(Owned, table=True):
    """One run of a test suite."""

    name: TrimmedText = Field(min_length=1, max_length=200)
    status: Progress = Progress.pending
    started_at: datetime | None = None
    finished_at: datetime | None = None
    environment: Annotated[dict[str, Any], MaxBytes(10_240)] = Field(default_factory=dict)


class TestResult(Owned, table=True):
    """What became of one case in a run."""

    execution_id: Annotated[UUID, BelongsTo(TestExecution, on_delete="cascade")]
    case: TrimmedText = Field(min_length=1, max_length=200)
    outcome: Outcome
    duration_ms: int = Field(ge=0)
    message: str | None = Field(default=None, max_length=4000)


executions = Resource(
    TestExecution,
    "/api/test-executions",
    filters=["status", "started_at"],
    sorts=["name", "started_at", "finished_at"],
    search=["name"],
)
results = Resource(
    TestResult, "/api/test-results", filters=["outcome"], sorts=["duration_ms", "case"], search=["case", "message"]
)
