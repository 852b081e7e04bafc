"""Prompts for a language model, and the analyses that they made: two tables of your own (docs/resources.md)."""

from typing import Annotated, Any
from uuid import UUID

from sqlmodel import Field

from backend.fields import MaxBytes, TrimmedText
from backend.resources import BelongsTo, Owned, Resource


class Prompt(Owned, table=True):
    """A prompt, with places for variables."""

    title: TrimmedText = Field(min_length=1, max_length=200)
    text: TrimmedText = Field(min_length=1, max_length=20_000)
    variables: Annotated[dict[str, Any], MaxBytes(10_240)] = Field(default_factory=dict)
    category: TrimmedText | None = Field(default=None, max_length=50)
    is_active: bool = True


class Analysis(Owned, table=True):
    """What a model made of a document by a prompt."""

    prompt_id: Annotated[UUID, BelongsTo(Prompt, on_delete="refuse")]
    document_name: TrimmedText = Field(min_length=1, max_length=255)
    result: Annotated[dict[str, Any], MaxBytes(20_480)] = Field(default_factory=dict)
    score: float | None = Field(default=None, ge=0, le=1)
    model: TrimmedText = Field(min_length=1, max_length=100)
    tokens: int = Field(default=0, ge=0)


prompts = Resource(
    Prompt,
    "/api/prompts",
    filters=["category", "is_active"],
    sorts=["title", "category"],
    search=["title", "text"],
    max_per_user=1000,
)
analyses = Resource(
    Analysis, "/api/analyses", filters=["score", "model"], sorts=["score", "tokens"], search=["document_name"]
)
