"""The routes that give a user all of the data, and take it back, in memory that does not grow with it."""

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO, Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from backend.auth import CurrentUser
from backend.database import Database, Db, Rows
from backend.export_import import EXPORTED, PAGE, document
from backend.problems import BODY_PROBLEMS, Problem, responses
from backend.routing import UserRoute, require_json
from backend.streamed import InvalidJsonError, Reader
from backend.task_files import FILES, File

IMPORT_PATH = "/api/import"
JSON, TASKS = "application/json", "tasks"
MAX_ERRORS = 20
MAX_ROW_ERRORS = 1000  # of one row; to look at each of a hundred thousand takes seconds
MAX_NAME = 100  # characters of a name that nobody knows
# How many times longer a row may be than the body that made it: JSON has \u0041 for A, and of a field that holds
# objects PostgreSQL writes numbers such as 1e300 out.
LONGER, WITH_OBJECTS = 4, 64
FEW = 50  # tasks that are written to a file at a time
PIECE = 256 * 1024  # bytes that are parsed at a time
BATCH_BYTES = 512 * 1024  # of rows that are inserted at a time

log = structlog.get_logger()


class Incoming:
    """A document that is on its way. Its rows are validated as they come, and kept in files for each table.

    The files have no name, so that nothing is left of them when they are closed or the process ends. Raises
    InvalidJsonError, and RequestValidationError that names every place up to MAX_ERRORS.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._reader = Reader(self)
        self._max_body_bytes = max_body_bytes
        self._parts = {part.name: part for part in EXPORTED}
        self._said: dict[str, str] = {}  # the document in JSON, short of its rows
        self._other: str | None = None  # all of it, if it is no object
        self._errors: list[Any] = []
        self._now = datetime.now(UTC)
        self._files = ExitStack()
        self._rows: dict[str, IO[bytes]] = {}  # one a line, by the names of the tables
        self.close = self._files.close

    def feed(self, data: bytes) -> None:
        """Take some more of it."""
        self._reader.feed(data)

    def end(self) -> None:
        """Take what is validated of it as a whole."""
        self._reader.end()
        said = ",".join(f"{json.dumps(name)}:{text}" for name, text in self._said.items())
        rows_errors, self._errors = self._errors, []
        self._check(document(), f"{{{said}}}" if self._other is None else self._other)
        self._errors += rows_errors
        if self._errors:
            raise RequestValidationError(self._errors[:MAX_ERRORS])
        for file in self._rows.values():
            file.seek(0)

    def batch(self, name: str) -> str | None:
        """Return the next rows of a table as a JSON array; None if there are no more."""
        file = self._rows.get(name)
        rows = file.readlines(BATCH_BYTES) if file else []
        return f"[{b','.join(rows).decode()}]" if rows else None

    def value(self, name: str | None, text: str) -> None:
        """Take a value of the document, or all of one that is no object."""
        if name is None:
            self._other = text
        elif self._is_known(name):
            self._said[name] = text

    def begin(self, name: str) -> int:
        """Return how long an item may be of a list of rows, or of what is not looked at; 0 for any other list."""
        if name not in self._parts:
            return 0 if self._is_known(name) else LONGER * self._max_body_bytes
        if self._is_known(name):
            self._said[name] = "[]"
            file = tempfile.SpooledTemporaryFile(BATCH_BYTES)  # noqa: SIM115 (closed with the others)
            self._rows[name] = self._files.enter_context(file)
        return (WITH_OBJECTS if self._parts[name].has_objects else LONGER) * self._max_body_bytes

    def item(self, name: str, number: int, text: str) -> None:
        """Take a row."""
        part = self._parts.get(name)
        row = part and self._check(part.given, text, name, number)
        if part and row and not self._errors:
            said = {key: value for key, value in part.row(row, self._now).items() if value is not None}
            self._rows[name].write(json.dumps(said, ensure_ascii=False).encode() + b"\n")

    def _is_known(self, name: str) -> bool:
        known = name in document().model_fields
        if not known:
            self._refuse({"type": "extra_forbidden", "loc": ("body", name[:MAX_NAME]), "msg": ""})
        elif name in self._said:
            self._refuse({"type": "repeated", "loc": ("body", name), "msg": "must be there once"})
        return known

    def _check(self, model: type[BaseModel], text: str, *place: str | int) -> BaseModel | None:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            if error.error_count() > MAX_ROW_ERRORS:
                self._refuse({"type": "too_wrong", "loc": ("body", *place), "msg": f"has over {MAX_ROW_ERRORS} errors"})
                return None
            for one in error.errors(include_url=False, include_input=False)[:MAX_ERRORS]:
                where = (part[:MAX_NAME] if isinstance(part, str) else part for part in one["loc"])
                self._refuse({**one, "loc": ("body", *place, *where)})
            return None

    def _refuse(self, *errors: Any) -> None:
        self._errors += errors
        if len(self._errors) >= MAX_ERRORS:
            raise RequestValidationError(self._errors[:MAX_ERRORS])


async def _receive(request: Request, incoming: Incoming) -> None:
    """Read a document from a request. In a thread and by pieces, because nobody else should wait for it."""
    pending = bytearray()
    async for data in request.stream():
        pending += data
        if len(pending) >= PIECE:
            await asyncio.to_thread(incoming.feed, bytes(pending))
            pending.clear()
    await asyncio.to_thread(incoming.feed, bytes(pending))
    await asyncio.to_thread(incoming.end)


async def _insert(db: Database, user_id: str, incoming: Incoming) -> dict[str, int]:
    """Insert the rows of a document, parents before their children; return how many were new, by table."""
    new = dict.fromkeys((part.name for part in EXPORTED), 0)
    async with db.writing(user_id) as run:
        for part in EXPORTED:
            keep = None
            while rows := incoming.batch(part.name):
                if part.kept:
                    keep = keep or await part.kept(run)
                    rows = await asyncio.to_thread(keep, rows)
                [(fits, number)] = await run(part.insertion, _rows=rows)
                if not fits:
                    detail = "With this import you would have more rows than a user may. Nothing was done."
                    raise Problem("LIMIT_REACHED", detail)
                new[part.name] += number
    return new


class ExportQuery(BaseModel):
    """In which format an export is."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["json", "csv", "ics"] | None = Field(
        default=None,
        description="`json` is all of your data, which `POST /api/import` takes; `csv` and `ics` are your tasks alone, "
        "for other programs. Without it, `Accept` says which; where that names none of them, `json`.",
    )


def _quality(media_type: str, accept: str) -> float:
    """Return how much a type is wanted, 0 to 1, by the range that is the most specific (RFC 9110, section 12.5.1)."""
    ranks = {"*/*": 0, f"{media_type.partition('/')[0]}/*": 1, media_type: 2}
    found = (-1, 0.0)
    for one in accept.lower().split(","):
        name, *parameters = (part.strip() for part in one.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if name in ranks and re.fullmatch(r"[01](\.\d{0,3})?", quality, re.ASCII):
            found = max(found, (ranks[name], float(quality)))
    return found[1]


def _format(query: ExportQuery, request: Request) -> str:
    """Return the format of an export: as its parameter says, or else `Accept`."""
    accept = ",".join(request.headers.getlist("accept"))
    types = {"json": JSON} | {name: file.media_type for name, file in FILES.items()}
    return query.format or max(types, key=lambda name: _quality(types[name], accept))


async def _pages(db: Database, user_id: str, first: Rows, later: str) -> AsyncIterator[Rows]:
    """Yield the pages of a table; `later` is the statement for all but the first."""
    page = first
    while page:
        yield page
        more = len(page) == PAGE
        page = await db.run(later, user_id, repeatable=True, _after=page[-1][1]) if more else []


async def _document(db: Database, user_id: str, pages: dict[str, tuple[str, str]], first: Rows) -> AsyncIterator[str]:
    """Yield a document; `pages` has the statements for the first and for a later page of each list."""
    yield f'{{"version":1,"exported_at":"{datetime.now(UTC).isoformat()}"'
    for number, (name, (beginning, later)) in enumerate(pages.items()):
        page = first if number == 0 else await db.run(beginning, user_id, repeatable=True)
        yield f',"{name}":['
        separator = ""
        async for rows in _pages(db, user_id, page, later):
            yield separator + ",\n".join(row[0] for row in rows)
            separator = ",\n"
        yield "]"
    yield "}"


async def _file(file: File, pages: AsyncIterator[Rows]) -> AsyncIterator[str]:
    yield file.head
    async for rows in pages:
        # In a thread and by a few, because to-dos take a while, and nobody else should wait for them.
        for begin in range(0, len(rows), FEW):
            yield await asyncio.to_thread(file.page, [json.loads(row[0]) for row in rows[begin : begin + FEW]])
    yield file.end


def router() -> APIRouter:
    """Return the routes. Once all tables are declared."""
    routes = APIRouter(tags=["transfer"], route_class=UserRoute)
    pages = {part.name: (part.page(False), part.page(True)) for part in sorted(EXPORTED, key=lambda part: part.name)}
    numbers: dict[str, Any] = {part.name: (int, ...) for part in EXPORTED}
    imported: type[BaseModel] = create_model(
        "Imported", __doc__="How many were new. What was there already is left alone.", **numbers
    )

    text = {"schema": {"type": "string"}}

    @routes.get(
        "/api/export",
        response_model=document(),
        responses={
            200: {"content": {file.media_type: text for file in FILES.values()}},
            **responses("VALIDATION_ERROR"),
        },
    )
    async def export_all(
        query: Annotated[ExportQuery, Query()], request: Request, user: CurrentUser, db: Db
    ) -> StreamingResponse:
        """All of your data, which `POST /api/import` takes back; or your tasks as CSV or iCalendar."""
        kind = _format(query, request)
        beginning, later = pages[TASKS] if kind in FILES else next(iter(pages.values()))
        first = await db.run(beginning, user.user_id, repeatable=True)  # before the answer's status is sent
        if kind in FILES:
            file = await asyncio.to_thread(FILES[kind])
            media_type, content = file.media_type, _file(file, _pages(db, user.user_id, first, later))
        else:
            media_type, content = JSON, _document(db, user.user_id, pages, first)
        headers = {"Content-Disposition": f'attachment; filename="tasks.{kind}"', "Vary": "Accept"}
        return StreamingResponse(content, media_type=media_type, headers=headers)

    @routes.post(
        IMPORT_PATH,
        response_model=imported,
        responses=responses(*BODY_PROBLEMS, *(["LIMIT_REACHED"] if any(part.limited for part in EXPORTED) else [])),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DocumentInput"}}},
            }
        },
    )
    async def import_all(request: Request, user: CurrentUser, db: Db) -> Response:
        """Take an export back, of any size. What is there already is left alone; all of it becomes yours."""
        require_json(request)
        incoming = Incoming(request.app.state.max_body_bytes)
        try:
            await _receive(request, incoming)
            answer = await _insert(db, user.user_id, incoming)
        except InvalidJsonError:
            raise Problem("INVALID_JSON", "The body is not valid JSON in UTF-8, or a row of it is too long.") from None
        except OSError as error:
            log.error("import_not_kept", error=error.strerror, effect="set TMPDIR to a folder with room for it")
            detail = "There is no room for this import at the moment. Try again later."
            raise Problem("OVERLOADED", detail, headers={"Retry-After": "60"}) from None
        finally:
            incoming.close()
        return Response(json.dumps(answer, separators=(",", ":")), media_type=JSON)

    return routes
