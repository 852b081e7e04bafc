"""The routes of a resource: each is HTTP, one statement, and an answer that PostgreSQL has written as JSON."""

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID, uuid5

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from uuid_utils.compat import uuid7

from backend import preconditions
from backend.auth import Claims, user_of
from backend.database import Db
from backend.problems import BODY_PROBLEMS, Problem, responses
from backend.resources import Resource
from backend.routing import UserRoute, typed

# For UUIDv5. Never change this: retries would create duplicates.
IDEMPOTENCY_NAMESPACE = UUID("7e0cf24b-3c4e-5d2a-9a39-54f1a1fd2bb5")


class Updated(BaseModel):
    """How many were changed."""

    updated: int


class Deleted(BaseModel):
    """How many were deleted."""

    deleted: int


def described(noun: str, *names: str) -> dict[str, Any]:
    """Return what OpenAPI is told of the headers of an answer."""
    described: dict[str, dict[str, Any]] = {
        "ETag": {
            "description": f"The {noun}'s version, for `If-Match`.",
            "schema": {"type": "string"},
            "example": '"1"',
        },
        "Location": {"description": f"Where the {noun} is.", "schema": {"type": "string"}},
        "Link": {
            "description": 'Where the next page is, as `<…>; rel="next"`; absent on the last one.',
            "schema": {"type": "string"},
        },
        "Next-Cursor": {
            "description": "The `cursor` of the next page, to send with the same parameters; absent on the last one.",
            "schema": {"type": "string"},
        },
        "Idempotency-Replayed": {
            "description": f"`true` if an earlier request with this key made the {noun}.",
            "schema": {"type": "string", "const": "true"},
        },
    }
    return {"headers": {name: described[name] for name in names}}


def _answer(row_json: str, version: int, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(row_json, status, {"ETag": f'"{version}"', **(headers or {})}, "application/json")


def router(resource: Resource[Any]) -> APIRouter:
    """Return the routes of one resource."""
    noun, plural, statements, listing = resource.noun, resource.plural, resource.statements, resource.listing
    a_noun = resource.a_noun
    model: Any = resource.model
    one, many = noun.replace(" ", "_"), plural.replace(" ", "_")
    all_of = many if many != one else f"all_{many}"
    reads, writes = user_of(statements.name)
    below = resource.path.removeprefix("/api")
    routes = APIRouter(prefix=resource.path, tags=[plural], route_class=UserRoute)
    row_id = Annotated[UUID, Path(description=f"The id of {a_noun} of yours.")]
    limited = ["LIMIT_REACHED"] if resource.max_per_user is not None else []
    kept = ["STILL_IN_USE"] if resource.may_be_kept else []

    def named(query: BaseModel) -> dict[str, Any]:
        found = listing.named(query)
        if not found:
            raise Problem(
                "VALIDATION_ERROR", f"Name at least one filter: this is about many {plural}, and never about all."
            )
        return found

    async def list_rows(query: Any, request: Request, user: Claims, db: Db) -> Response:
        filters, place = listing.named(query), listing.place_of(query)
        statement = listing.page(frozenset(filters), query.sort, bool(place))
        place["_limit"] = query.limit + 1
        found = await db.run(statement, user.user_id, repeatable=True, **filters, **place)
        if not found and (meant := await resource.meant(db, user.user_id, filters)):
            found = await db.run(statement, user.user_id, repeatable=True, **meant, **place)
        rows = [row[0] for row in found]
        headers = {}
        if len(rows) > query.limit:
            rows.pop()
            same = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
            cursor = listing.cursor_after(query, found[len(rows) - 1])
            target = urlencode([*same, ("cursor", cursor)])
            headers = {"Link": f'<{request.state.prefix}{below}?{target}>; rel="next"', "Next-Cursor": cursor}
        return Response(f"[{','.join(rows)}]", headers=headers, media_type="application/json")

    async def create(body: Any, request: Request, user: Claims, db: Db) -> Response:
        key = preconditions.idempotency_key(request)
        new_id = uuid5(IDEMPOTENCY_NAMESPACE, f"{user.user_id}\0{key}") if key else uuid7()
        rows = await resource.create(db, user.user_id, new_id, resource.values(body))
        if not rows and resource.max_per_user is None:
            raise resource.not_found()  # made, before its connection was lost, and deleted before the second try
        if not rows:
            raise Problem("LIMIT_REACHED", f"You have {resource.max_per_user} {plural}, and may have no more.")
        row_json, version, inserted, same = rows[0]
        if not inserted and not same and version == 1:
            raise Problem(
                "IDEMPOTENCY_KEY_REUSED", f"This Idempotency-Key made another {noun}. Take a new key for a new {noun}."
            )
        headers = {"Location": f"{request.state.prefix}{below}/{new_id}"}
        return _answer(row_json, version, 201, headers | ({} if inserted else {"Idempotency-Replayed": "true"}))

    async def read(id: UUID, request: Request, user: Claims, db: Db) -> Response:
        known = preconditions.known(request)
        rows = await db.run(statements.read, user.user_id, repeatable=True, id=id)
        if not rows:
            raise resource.not_found()
        row_json, version = rows[0]
        if known is None or version in known:
            return Response(status_code=304, headers={"ETag": f'"{version}"'})
        return _answer(row_json, version)

    async def change(id: UUID, body: Any, request: Request, user: Claims, db: Db) -> Response:
        resource.check_owner(body, id, user.user_id)
        versions = preconditions.matching(request, body.version)
        done = await resource.change(db, user.user_id, id, resource.values(body), versions)
        links = [f'<{request.state.prefix}{below}/{row}>; rel="{name}"' for name, row in done.links.items()]
        return _answer(done.row_json, done.version, headers={"Link": ", ".join(links)} if links else {})

    async def replace(id: UUID, body: Any, request: Request, user: Claims, db: Db) -> Response:
        return await change(id, body, request, user, db)

    async def delete(id: UUID, request: Request, user: Claims, db: Db) -> None:
        versions = preconditions.matching(request)
        rows = await resource.delete(db, statements.delete, user.user_id, id=id, _versions=versions)
        if not rows or (versions is None and not rows[0][0]):
            raise resource.not_found()
        if not rows[0][0]:
            raise preconditions.failed(noun, rows[0][1])

    async def update_many(query: Any, body: Any, user: Claims, db: Db) -> Updated:
        by, changes = named(query), resource.values(body)
        condition = listing.where(frozenset(by))
        count = await resource.change_all(db, user.user_id, condition, by, changes)
        if not count and (meant := await resource.meant(db, user.user_id, by)):
            count = await resource.change_all(db, user.user_id, condition, meant, changes)
        return Updated(updated=count)

    async def delete_many(query: Any, user: Claims, db: Db) -> Deleted:
        by = named(query)
        statement = statements.delete_all(listing.where(frozenset(by)))
        [(count,)] = await resource.delete(db, statement, user.user_id, **by)
        if not count and (meant := await resource.meant(db, user.user_id, by)):
            [(count,)] = await resource.delete(db, statement, user.user_id, **meant)
        return Deleted(deleted=count)

    not_found = resource.code
    changed_headers = described(noun, "ETag")["headers"]
    if resource.links:
        related = "; ".join(f'with `rel="{name}"` {text}' for name, text in resource.links.items())
        changed_headers["Link"] = {"description": f"What has to do with it: {related}.", "schema": {"type": "string"}}
    changed: dict[str, Any] = {
        "response_model": resource.model,
        "openapi_extra": preconditions.if_match(noun),
        "responses": {
            200: {"headers": changed_headers},
            **responses(not_found, "PRECONDITION_FAILED", "INVALID_HEADER", *BODY_PROBLEMS),
        },
    }
    routes.get(
        "",
        name=f"list_{many}",
        description=f"Your {plural}, the newest first. `Link` leads to the next page, which stays right while {plural} "
        "come and go.",
        response_model=list[model],
        responses={200: described(noun, "Link", "Next-Cursor"), **responses("VALIDATION_ERROR", "INVALID_CURSOR")},
    )(typed(list_rows, user=reads, query=Annotated[(listing.query, Query())]))
    routes.post(
        "",
        name=f"create_{one}",
        description=f"Make {a_noun}. With an `Idempotency-Key`, a repeat answers with the {noun} that the first "
        "request made.",
        status_code=201,
        response_model=resource.model,
        openapi_extra=preconditions.idempotency_key_for(noun),
        responses={
            201: described(noun, "Location", "ETag", "Idempotency-Replayed"),
            **responses(*BODY_PROBLEMS, "INVALID_HEADER", "IDEMPOTENCY_KEY_REUSED", *limited),
        },
    )(typed(create, user=writes, body=resource.create_body))
    routes.get(
        "/{id}",
        name=f"read_{one}",
        description=f"One {noun} of yours. `ETag` is its version.",
        response_model=resource.model,
        openapi_extra=preconditions.if_none_match(noun),
        responses={
            200: described(noun, "ETag"),
            304: {"description": "You have this version already (`If-None-Match`)."},
            **responses(not_found, "VALIDATION_ERROR", "INVALID_HEADER"),
        },
    )(typed(read, user=reads, id=row_id))
    routes.put(
        "/{id}",
        name=f"replace_{one}",
        description=f"Replace {a_noun}: what the body leaves out gets its default. The body may be an answer as it is.",
        **changed,
    )(typed(replace, user=writes, id=row_id, body=resource.replace_body))
    routes.patch(
        "/{id}",
        name=f"update_{one}",
        description="Change what the body names; what it leaves out stays, and `null` clears what may be null."
        + resource.on_update,
        **changed,
    )(typed(change, user=writes, id=row_id, body=resource.update_body))
    routes.delete(
        "/{id}",
        name=f"delete_{one}",
        description=f"Delete {a_noun} for good.",
        status_code=204,
        openapi_extra=preconditions.if_match(noun),
        responses=responses(not_found, "VALIDATION_ERROR", "PRECONDITION_FAILED", "INVALID_HEADER", *kept),
    )(typed(delete, user=writes, id=row_id))
    routes.patch(
        "",
        name=f"update_{all_of}",
        description=f"Change all {plural} that the filters name, as `PATCH` of one does{resource.on_update_all}.",
        responses=responses(*BODY_PROBLEMS),
    )(typed(update_many, user=writes, query=Annotated[(listing.filters, Query())], body=resource.update_many_body))
    routes.delete(
        "",
        name=f"delete_{all_of}",
        description=f"Delete all {plural} that the filters name, for good.",
        responses=responses("VALIDATION_ERROR", *kept),
    )(typed(delete_many, user=writes, query=Annotated[(listing.filters, Query())]))
    return routes
