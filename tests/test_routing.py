"""A route of one's own: whatever FastAPI can do on it works, behind the token, or the start says why not."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    WebSocket,
)
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.app import routes_of
from backend.auth import Claims, CurrentUser
from backend.database import Database, Db
from backend.routing import UserRoute
from backend.settings import DeclarationError
from tests.conftest import serving, settings, sign
from tests.helpers import assert_problem
from tests.project import Copy, wait_until

router = APIRouter(prefix="/api/own", route_class=UserRoute)
done: list[str] = []


class Shown(BaseModel):
    name: str


class Kept(Shown):
    secret: str = "hidden"


class Search(BaseModel):
    model_config = ConfigDict(extra="forbid")

    word: str = "none"
    kinds: set[str] = set()
    places: list[str] | None = None


def guard(request: Request) -> None:
    done.append("guard")
    if "x-closed" in request.headers:
        raise HTTPException(403, "Closed today.", {"X-Why": "holiday"})


async def yielded() -> AsyncIterator[str]:
    done.append("opened")
    yield "yielded"
    done.append("closed")


def owner_of(user: CurrentUser) -> str:
    return user.user_id


@router.get("/guarded", dependencies=[Depends(guard)])
async def guarded(user: CurrentUser) -> Response:
    return PlainTextResponse("in")


@router.get("/dependent")
async def dependent(
    user: CurrentUser, value: Annotated[str, Depends(yielded)], owner: Annotated[str, Depends(owner_of)]
) -> Response:
    return PlainTextResponse(f"{value} {owner == user.user_id}")


@router.get("/filtered", response_model=Shown)
async def filtered(user: CurrentUser) -> Kept:
    return Kept(name="x")


@router.get("/subclass")
async def subclass(user: CurrentUser) -> Shown:
    return Kept(name="x")


@router.get("/excluded", response_model_exclude={"secret"})
async def excluded(user: CurrentUser) -> Kept:
    return Kept(name="x")


@router.get("/scalars")
async def scalars(user: CurrentUser, number: int, word: str = "none", many: Annotated[list[int], Query()] = []) -> Any:  # noqa: B006
    return [number, word, many]


@router.get("/model")
async def model(user: CurrentUser, search: Annotated[Search, Query()]) -> Any:
    return [search.word, sorted(search.kinds), search.places]


@router.get("/fast-model")
async def fast_model(user: CurrentUser, search: Annotated[Search, Query()]) -> Response:
    return PlainTextResponse(f"{search.word} {sorted(search.kinds)} {search.places}")


@router.get("/headers")
async def headers(user: CurrentUser, x_word: Annotated[str, Header()], cake: Annotated[str, Cookie()] = "none") -> Any:
    return [x_word, cake]


@router.post("/embedded")
async def embedded(user: CurrentUser, shown: Annotated[Shown, Body(embed=True)]) -> Any:
    return shown.name


@router.post("/bodies")
async def bodies(user: CurrentUser, first: Shown, second: Shown, count: Annotated[int, Body()]) -> Any:
    return [first.name, second.name, count]


@router.post("/optional")
async def optional(user: CurrentUser, shown: Shown | None = None) -> Any:
    return shown and shown.name


@router.post("/background")
async def background(user: CurrentUser, tasks: BackgroundTasks) -> Response:
    tasks.add_task(done.append, "later")
    return PlainTextResponse("now")


@router.get("/response")
async def response(user: CurrentUser, response: Response) -> Shown:
    response.status_code = 202
    response.headers["X-Own"] = "yes"
    return Shown(name="x")


@router.get("/dict")
async def returned_dict(user: CurrentUser) -> dict[str, Any]:
    return {"a": 1}


@router.get("/list")
async def returned_list(user: CurrentUser) -> list[Shown]:
    return [Kept(name="x")]


@router.get("/plain")
def plain(user: CurrentUser, db: Db) -> Any:
    assert isinstance(db, Database)
    return "plain"


@router.get("/stream")
async def stream(user: CurrentUser) -> StreamingResponse:
    return StreamingResponse(iter(["a", "b"]))


@router.get("/two-users")
async def two_users(user: CurrentUser, again: CurrentUser) -> Any:
    return user == again


def page_of(page: int = 1) -> int:
    return page


@router.get("/paged")
async def paged(user: CurrentUser, page: Annotated[int, Depends(page_of)]) -> Response:
    return PlainTextResponse(str(page))


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


class Loose(BaseModel):
    word: str = Field("none", alias="Word")


@router.get("/open")
async def open_to_all(user: CurrentUser, said: Annotated[Anything, Query()]) -> Any:
    return said.model_dump()


@router.get("/loose")
async def loose(user: CurrentUser, said: Annotated[Loose, Query()]) -> Any:
    return said.model_dump(by_alias=False)


@router.get("/status/{status}")
async def status(user: CurrentUser, status: int) -> Response:
    raise HTTPException(status, "As you wish.", {"X-Why": "asked"})


# What a request to each route sends, and what it answers.
SHAPES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "guarded": ("GET", {}, "in"),
    "dependent": ("GET", {}, "yielded True"),
    "filtered": ("GET", {}, {"name": "x"}),
    "subclass": ("GET", {}, {"name": "x"}),
    "excluded": ("GET", {}, {"name": "x"}),
    "scalars": ("GET", {"params": {"number": 3, "many": [1, 2]}}, [3, "none", [1, 2]]),
    "model": ("GET", {"params": {"kinds": ["b", "a"], "places": ["x"]}}, ["none", ["a", "b"], ["x"]]),
    "fast-model": ("GET", {"params": {"kinds": ["b", "a"], "places": ["x"]}}, "none ['a', 'b'] ['x']"),
    "headers": ("GET", {"headers": {"X-Word": "w", "Cookie": "cake=plum"}}, ["w", "plum"]),
    "embedded": ("POST", {"json": {"shown": {"name": "x"}}}, "x"),
    "bodies": ("POST", {"json": {"first": {"name": "a"}, "second": {"name": "b"}, "count": 2}}, ["a", "b", 2]),
    "optional": ("POST", {}, None),
    "background": ("POST", {}, "now"),
    "response": ("GET", {}, {"name": "x"}),
    "dict": ("GET", {}, {"a": 1}),
    "list": ("GET", {}, [{"name": "x"}]),
    "plain": ("GET", {}, "plain"),
    "stream": ("GET", {}, "ab"),
    "two-users": ("GET", {}, True),
}


@pytest.fixture(scope="module")
def own(database_url: str) -> Iterator[str]:
    """The URL of an API that has all of these routes."""
    with serving(settings(database_url=database_url), router=router) as url:
        yield url


@pytest.fixture
def client(own: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=own, headers={"Authorization": f"Bearer {sign({'sub': 'ann'})}"}) as http:
        done.clear()
        yield http


@pytest.mark.parametrize("shape", SHAPES)
def test_a_parameter_that_a_route_of_ones_own_does_not_declare_is_refused(client: httpx.Client, shape: str) -> None:
    method, options, _ = SHAPES[shape]
    params = {**options.get("params", {}), "x y": "1", "z": ""}
    answer = client.request(method, f"/api/own/{shape}", **{**options, "params": params})
    assert_problem(answer, 422, "VALIDATION_ERROR")
    message = "is no query parameter of this route"
    assert answer.json()["errors"] == [{"field": field, "message": message} for field in ("x y", "z")]
    assert answer.json()["detail"] == f"x y {message}."
    assert done == []


def test_what_a_dependency_reads_or_a_model_allows_is_declared(client: httpx.Client) -> None:
    assert client.get("/api/own/paged?page=3").text == "3"
    assert client.get("/api/own/paged?pages=3").status_code == 422
    assert client.get("/api/own/open?whatever=3").json() == {"whatever": "3"}
    assert client.get("/api/own/loose?Word=3").json() == {"word": "3"}
    assert client.get("/api/own/loose?word=3").json()["errors"][0]["field"] == "word"


@pytest.mark.parametrize("shape", SHAPES)
def test_what_fastapi_can_do_works_on_a_users_route(client: httpx.Client, shape: str) -> None:
    method, sent, expected = SHAPES[shape]
    answer = client.request(method, f"/api/own/{shape}", **sent)
    assert answer.is_success, answer.text
    is_json = answer.headers.get("Content-Type") == "application/json"
    assert (answer.json() if is_json else answer.text) == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_of_a_route_answers_without_a_token(own: str, shape: str) -> None:
    method, sent, _ = SHAPES[shape]
    done.clear()
    for headers in ({}, {"Authorization": "Bearer x.y.z"}):
        answer = httpx.request(method, f"{own}/api/own/{shape}", **{**sent, "headers": headers})
        assert answer.status_code == 401
        assert answer.json()["code"] in ("MISSING_TOKEN", "INVALID_TOKEN")
    assert done == [], "nothing of the route runs before the token is checked"


def test_a_guard_runs_and_its_403_is_a_403(client: httpx.Client) -> None:
    assert client.get("/api/own/guarded").text == "in"
    assert done == ["guard"]
    answer = client.get("/api/own/guarded", headers={"X-Closed": "1"})
    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Why"] == "holiday"
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["detail"]) == (403, "FORBIDDEN", "Closed today.")
    assert problem["request_id"] == answer.headers["X-Request-ID"]


def test_a_dependency_with_yield_is_closed_and_a_background_task_is_run(client: httpx.Client) -> None:
    client.get("/api/own/dependent")
    client.post("/api/own/background")
    wait_until(lambda: "later" in done)
    assert done == ["opened", "closed", "later"]


def test_the_response_parameter_sets_status_and_headers(client: httpx.Client) -> None:
    answer = client.get("/api/own/response")
    assert (answer.status_code, answer.headers["X-Own"]) == (202, "yes")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "BAD_REQUEST"),
        (402, "PAYMENT_REQUIRED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (409, "CONFLICT"),
        (410, "GONE"),
        (418, "IM_A_TEAPOT"),
        (451, "UNAVAILABLE_FOR_LEGAL_REASONS"),
        (499, "ERROR"),
        (501, "NOT_IMPLEMENTED"),
    ],
)
def test_an_http_exception_keeps_its_status(client: httpx.Client, status: int, code: str) -> None:
    answer = client.get(f"/api/own/status/{status}")
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, status, code)
    assert answer.json()["detail"] == "As you wish."
    assert answer.headers["X-Why"] == "asked"


def test_an_http_exception_whose_status_has_no_body_has_none(client: httpx.Client) -> None:
    answer = client.get("/api/own/status/304")
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"shown": ', "application/json", 400),
        ('{"shown": {"name": "x"}}'.encode("utf-16"), "application/json", 400),
        (b'{"shown": {"name": "x"}}', "text/plain", 415),
        (b"", "application/json", 422),
        (b'{"name": "x"}', "application/json", 422),
    ],
)
def test_a_body_is_read_as_strictly_by_fastapis_way(
    client: httpx.Client, content: bytes, media_type: str, status: int
) -> None:
    answer = client.post("/api/own/embedded", content=content, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_included_in_another_router_a_guard_of_that_router_runs(database_url: str) -> None:
    outer = APIRouter(prefix="/outer", dependencies=[Depends(guard)])
    outer.include_router(router)
    with serving(settings(database_url=database_url), router=outer) as url:
        assert httpx.get(f"{url}/outer/api/own/dict").status_code == 401
        headers = {"Authorization": f"Bearer {sign({'sub': 'ann'})}"}
        assert httpx.get(f"{url}/outer/api/own/dict", headers=headers).json() == {"a": 1}
        assert httpx.get(f"{url}/outer/api/own/dict", headers={**headers, "X-Closed": "1"}).status_code == 403


def test_on_a_route_of_another_class_the_user_is_checked_too(database_url: str) -> None:
    other = APIRouter()

    @other.get("/api/other")
    async def other_route(user: CurrentUser) -> dict[str, str]:
        assert isinstance(user, Claims)
        return {"user": user.user_id}

    with serving(settings(database_url=database_url), router=other) as url:
        assert httpx.get(f"{url}/api/other").status_code == 401
        headers = {"Authorization": f"Bearer {sign({'sub': 'ann'})}"}
        assert httpx.get(f"{url}/api/other", headers=headers).json() == {"user": "ann"}


def test_a_route_without_a_user_is_refused_when_it_is_declared() -> None:
    with pytest.raises(DeclarationError, match=r"^GET /api/x: anybody\(\) takes no user\. Give it a parameter `user:"):

        @APIRouter(prefix="/api", route_class=UserRoute).get("/x")
        async def anybody() -> None: ...


@pytest.mark.parametrize("kind", [Form(), File()], ids=["form", "file"])
def test_a_form_is_refused_while_the_package_that_reads_it_is_missing(kind: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^/x: upload\(\): Form data requires .* Run: uv add python-multipart$"):

        @APIRouter(route_class=UserRoute).post("/x")
        async def upload(user: CurrentUser, part: Annotated[str, kind]) -> None: ...


def test_a_websocket_is_refused_at_the_start() -> None:
    sockets = APIRouter(route_class=UserRoute)

    @sockets.websocket("/api/live")
    async def live(socket: WebSocket) -> None: ...

    with pytest.raises(DeclarationError, match=r"^WebSocket /api/live: live\(\) would be open to everybody"):
        routes_of(sockets)


def test_a_start_that_fails_by_a_declaration_says_one_sentence(copy: Copy) -> None:
    path: Path = copy.folder / "backend" / "me.py"
    path.write_text(path.read_text().replace("(user: AnyUser)", "()"))
    ended = copy.run("main.py", "--port", "0")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("GET /api/me: read_me() takes no user.")
    assert "Traceback" not in ended.stderr
