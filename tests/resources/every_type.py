"""A table with a field of each type, required and optional, that the tests add to an API of their own."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from sqlmodel import Field

from backend.fields import MaxBytes
from backend.resources import Owned, Resource


class Size(StrEnum):
    small = "small"
    medium = "medium"
    large = "large"


class Order(Owned, table=True):  # a reserved word of SQL, as the names of two fields are
    """One of each."""

    name: str = Field(max_length=20)
    size: Size
    flag: bool
    number: int
    big: int = Field(default=0, ge=-(2**53), le=2**53)
    ratio: float
    price: Decimal = Field(max_digits=8, decimal_places=2)
    day: date
    moment: datetime
    other: UUID
    words: list[str] = Field(max_length=3)
    data: Annotated[dict[str, Any], MaxBytes(100)]
    versions: int = 0  # as a parameter of the statements might be called
    group: str | None = Field(default=None, max_length=20)
    size_or_null: Size | None = None
    flag_or_null: bool | None = None
    number_or_null: int | None = Field(default=None, ge=-5)
    big_or_null: int | None = Field(default=None, ge=-(2**53), le=2**53)
    ratio_or_null: float | None = None
    price_or_null: Decimal | None = Field(default=None, max_digits=8, decimal_places=2)
    day_or_null: date | None = None
    moment_or_null: datetime | None = None
    other_or_null: UUID | None = None
    words_or_null: list[str] | None = Field(default=None, max_length=3)
    data_or_null: Annotated[dict[str, Any] | None, MaxBytes(100)] = None


FIELDS = [name for name in Order.model_fields if name not in Owned.model_fields]
orders = Resource(
    Order,
    "/api/orders",
    filters=[name for name in FIELDS if not name.startswith("data")],
    sorts=[name for name in FIELDS if not name.startswith(("data", "words"))],
    search=["name", "group"],
    max_per_user=400,
)
