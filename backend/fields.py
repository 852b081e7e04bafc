"""The types that a table's fields can have: what each takes as JSON, and the column that PostgreSQL keeps it in."""

import json
import re
import types
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    AllowInfNan,
    AwareDatetime,
    BeforeValidator,
    PlainSerializer,
    Strict,
    StringConstraints,
    WithJsonSchema,
    WrapValidator,
)
from pydantic import Field as PydanticField
from pydantic_core import core_schema
from sqlalchemy import BigInteger, Boolean, Date, DateTime, Double, Enum, Integer, Numeric, String, Uuid
from sqlalchemy import Text as TextType
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from backend.problems import PATTERN_MESSAGES
from backend.settings import DeclarationError

MAX_USER_ID_LENGTH = 255
MAX_DEPTH = 32  # of a JSON object: PostgreSQL and pydantic give up at some depth, and nobody needs it
INT4, INT8 = 2**31 - 1, 2**63 - 1


def _iso_text(value: object) -> object:
    # pydantic also takes seconds since 1970, as a number or as digits: nearly always a mistake.
    if isinstance(value, str) and "-" in value[1:]:
        return value
    raise ValueError("must be a date and time with an offset, like 2030-01-31T09:00:00Z")


DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _iso_day(value: object) -> object:
    if isinstance(value, str) and DAY.fullmatch(value):
        return value
    raise ValueError("must be a date like 2030-01-31")


def whole(value: object) -> object:
    """Return a float that is an integer as one, and anything else as it is."""
    # JSON has one kind of number, and to JSON Schema 1.0 is an integer.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def in_utc(value: datetime) -> datetime:
    """Return a moment in UTC. Raises ValueError if UTC puts it outside the years 1 to 9999."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


def _in_four_digit_years(value: datetime) -> datetime:
    in_utc(value)
    return value


def _check_json(value: Any, depth: int = 1) -> None:
    """Raise ValueError for what PostgreSQL's jsonb cannot hold."""
    if depth > MAX_DEPTH:
        raise ValueError(f"must be nested at most {MAX_DEPTH} deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_json(name, depth)
            _check_json(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, depth + 1)
    elif isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        raise ValueError("must not contain NUL or lone surrogates")
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError("must not contain NaN or Infinity")
    elif isinstance(value, int) and abs(value) > 10**300:
        raise ValueError("must not contain numbers of more than 300 digits")


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class MaxBytes:
    """The size limit of a JSON object, in bytes of compact UTF-8: `Annotated[dict[str, Any], MaxBytes(10_240)]`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        # JSON Schema has no such limit.
        return {"description": f"At most {self.limit} bytes of JSON."} | handler(schema)

    def _check(self, value: Any) -> Any:
        _check_json(value)
        if len(json_text(value).encode()) > self.limit:
            raise ValueError(f"must be at most {self.limit} bytes of JSON")
        return value


# Accents and other marks. To put many of them in order takes a time that grows with their square.
_MARKS = "".join(re.escape(mark) for mark in map(chr, range(0x300, 0x1F000)) if unicodedata.combining(mark))
MAX_MARKS = 30  # on one letter, as Unicode's stream-safe format has it (UAX 15, section 13)
_TOO_MANY_MARKS = re.compile(f"[{_MARKS}]{{{MAX_MARKS + 1}}}")


def _composed(value: object) -> object:
    if not isinstance(value, str) or value.isascii():
        return value
    if _TOO_MANY_MARKS.search(value):
        raise ValueError(f"must have at most {MAX_MARKS} marks on one letter")
    return unicodedata.normalize("NFC", value)


# What a client types arrives in one form (Unicode's NFC), however its keyboard makes an é. It goes last, so that limits
# count what is kept.
COMPOSED = BeforeValidator(_composed)
# What shows nothing: white space, control characters, blanks such as U+2800, and what Unicode calls default-ignorable.
# Those beyond 16 bits are left to _check_visible, because a pattern cannot name them in every client's language.
INVISIBLE = (
    r"\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
_VISIBLE = re.compile(rf"[^{INVISIBLE}\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]")


def _check_visible(value: str) -> str:
    if not _VISIBLE.search(value):
        raise ValueError("must have a character that shows")
    return value


VISIBLE = AfterValidator(_check_visible)
# PostgreSQL's text cannot hold NUL; a pattern, so that the API's schema says so too.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
# Trimmed text must have something left: the pattern asks for a character that shows.
VISIBLE_PATTERN = rf"^[^\x00]*[^{INVISIBLE}][^\x00]*$"
PATTERN_MESSAGES[VISIBLE_PATTERN] = "must have a character that shows, and no NUL"
TrimmedText = Annotated[str, StringConstraints(strip_whitespace=True, pattern=VISIBLE_PATTERN), VISIBLE]
Moment = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_in_four_digit_years)]
Day = Annotated[date, BeforeValidator(_iso_day)]


class _OrDay:
    """Marks a moment that may also be a whole day."""


def _moment_or_day(value: object, moment: Any) -> Any:
    if not (isinstance(value, str) and DAY.fullmatch(value)):
        return moment(value)
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a date that there is") from None
    if day == date.max:  # which ends in the year 10000 where clocks are behind UTC
        raise ValueError("must be before the last day of the year 9999")
    return day


# A moment, or a whole day. To JSON Schema it is text: what reads a day as a moment could not write it back.
MomentOrDay = Annotated[
    Moment,
    _OrDay(),
    WrapValidator(_moment_or_day),
    PlainSerializer(lambda value, info: value.isoformat() if info.mode == "json" else value),
    WithJsonSchema({"type": "string", "format": "date-or-date-time"}),
]


@cache
def _zones() -> set[str]:
    return available_timezones() - {"Factory", "localtime"}


def _check_zone(value: str) -> str:
    if value not in _zones():
        raise ValueError("must be an IANA time zone like Europe/Berlin")
    return value


TimeZone = Annotated[Text, AfterValidator(_check_zone), PydanticField(json_schema_extra={"format": "time-zone"})]

# What a plain type becomes in a request body, where pydantic alone would take more than the column holds.
IN_BODIES: dict[Any, Any] = {
    str: Text,
    bool: Annotated[bool, Strict()],
    float: Annotated[float, Strict(), AllowInfNan(False)],
    date: Day,
    datetime: Moment,
}
EXAMPLES: dict[type, Any] = {
    datetime: "2030-01-31T09:00:00+01:00",
    date: "2030-01-31",
    UUID: "0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b",
    dict: {"key": "value"},
}


@dataclass(frozen=True)
class Type:
    """What a field is.

    `limits` are those of pydantic, by their names; `annotation` is what it was declared as, `item` a list's item.
    """

    python: type
    optional: bool = False  # whether it may be null
    limits: Mapping[str, Any] = field(default_factory=dict)
    annotation: Any = None
    item: Any = None
    or_day: bool = False  # whether a moment may be a whole day


def _parts(annotation: Any) -> Iterable[Any]:
    """Yield the plain types of an annotation, and whatever Annotated adds to them."""
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        yield from extra
        yield from _parts(inner)
    elif get_origin(annotation) in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _parts(one)
    else:
        yield annotation


BOUNDS = ("ge", "gt", "le", "lt")
LIMITS = (*BOUNDS, "max_length", "max_digits", "decimal_places", "pattern")
PLAIN = (str, bool, int, float, Decimal, date, datetime, UUID)


def type_of(annotation: Any, metadata: Sequence[Any]) -> Type | None:
    """Return what a field's annotation says, None if it is nothing that a table can keep."""
    found: list[type] = []
    optional = False
    limits: dict[str, Any] = {}
    item: Any = None
    or_day = False
    for part in (*_parts(annotation), *metadata):
        if part is type(None):
            optional = True
        elif part is AwareDatetime:
            found.append(datetime)
        elif part in PLAIN or (isinstance(part, type) and issubclass(part, StrEnum)):
            found.append(part)
        elif get_origin(part) is list and (inner := type_of(get_args(part)[0], ())) and inner.python is str:
            found.append(list)
            item = Annotated[(in_body(get_args(part)[0], inner), COMPOSED)]
        elif part is dict or get_origin(part) is dict:
            found.append(dict)
        elif isinstance(part, type) or get_origin(part):
            return None
        elif isinstance(part, _OrDay):
            or_day = True
        else:
            limits |= {name: value for name in LIMITS if (value := getattr(part, name, None)) is not None}
            limits |= {"MaxBytes": True} if isinstance(part, MaxBytes) else {}
    declared = Annotated[(annotation, *metadata)] if metadata else annotation
    return Type(found[0], optional, limits, declared, item, or_day) if len(found) == 1 else None


def _bits(type_: Type) -> int:
    """Return the greatest integer of the column: of 32 bits, or of 64 where a limit asks for them."""
    return INT8 if any(abs(type_.limits.get(name, 0)) > INT4 for name in BOUNDS) else INT4


class _Digits:
    """What is taken for a decimal: text, which loses no digit on its way; in a body a number, too."""

    def __init__(self, limits: Mapping[str, Any], *, in_body: bool) -> None:
        whole, places = limits["max_digits"] - limits["decimal_places"], limits["decimal_places"]
        fraction = rf"(\.\d{{1,{places}}})?" if places else ""
        self.pattern = rf"^-?\d{{1,{max(whole, 1)}}}{fraction}$"
        names = dict(zip(BOUNDS, ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"), strict=True))
        bounds = {names[name]: float(value) for name, value in limits.items() if name in BOUNDS}
        number = {"type": "number", "exclusiveMinimum": -(10**whole), "exclusiveMaximum": 10**whole} | bounds
        text = {"type": "string", "pattern": self.pattern}
        self.schema = {"anyOf": [number, text]} if in_body else text

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return self.schema

    def _check(self, value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(self.pattern, value, re.ASCII):
            raise ValueError("must be a number like 12.50, with no more digits than there is room for")
        return value


def decimal_of(limits: Mapping[str, Any], *, in_body: bool) -> Any:
    """Return the type of a decimal in a body or a query, as exact as its column."""
    digits = {name: limits[name] for name in ("max_digits", "decimal_places")}
    return Annotated[Decimal, PydanticField(**digits), _Digits(limits, in_body=in_body)]


def sql_type(type_: Type, enum_name: str) -> Any:
    """Return the column type that keeps it; raise DeclarationError, without the field's name, if a limit is missing."""
    limits = type_.limits
    if issubclass(type_.python, StrEnum):
        return Enum(type_.python, name=enum_name, values_callable=lambda members: [member.value for member in members])
    if any(abs(limits.get(name, 0)) > INT8 + 1 for name in BOUNDS):
        raise DeclarationError("its limits are beyond 64 bits: lower them")
    needed = {str: ["max_length"], list: ["max_length"], dict: ["MaxBytes"], Decimal: ["max_digits", "decimal_places"]}
    for name in needed.get(type_.python, ()):
        if name not in limits:
            raise DeclarationError(f"it has no limit: give it {name}")
    return {
        str: String(limits.get("max_length")),
        bool: Boolean(),
        int: Integer() if _bits(type_) == INT4 else BigInteger(),
        float: Double(),
        Decimal: Numeric(limits.get("max_digits"), limits.get("decimal_places")),
        date: Date(),
        datetime: DateTime(timezone=True),
        UUID: Uuid(),
        list: ARRAY(TextType()),
        dict: JSONB(),
    }[type_.python]


def in_body(annotation: Any, type_: Type) -> Any:
    """Return an annotation for request bodies: as strict as the column, where it says nothing stricter itself."""
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return Annotated[(in_body(inner, type_), *extra)]
    if get_origin(annotation) in (Union, types.UnionType):
        return Union[tuple(in_body(one, type_) for one in get_args(annotation))]  # noqa: UP007
    if get_origin(annotation) is list:
        return types.GenericAlias(list, (Annotated[(in_body(get_args(annotation)[0], type_), COMPOSED)],))
    if annotation is str and "pattern" in type_.limits:
        return annotation
    if annotation is int:  # with the column's own limits, where the field has none
        bounds = {name: value for name, value in type_.limits.items() if name in BOUNDS}
        bounds |= {} if "ge" in bounds or "gt" in bounds else {"ge": -_bits(type_) - 1}
        bounds |= {} if "le" in bounds or "lt" in bounds else {"le": _bits(type_)}
        return Annotated[int, Strict(), PydanticField(**bounds), BeforeValidator(whole)]
    return decimal_of(type_.limits, in_body=True) if annotation is Decimal else IN_BODIES.get(annotation, annotation)
