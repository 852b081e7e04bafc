"""What a token may do: its scope and its user's role, on every route, as the description says."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from backend.auth import AnyUser, CurrentUser
from backend.resources import RESOURCES
from backend.routing import UserRoute
from tests.conftest import serving, settings, sign
from tests.helpers import assert_problem, create

# By the first segments of the path: what it needs beside what the method says, of every resource where it is about all.
EVERY = [resource.statements.name for resource in RESOURCES]
ABOUT = {"tags": ["tasks"], "me": [], **{name: [name] for name in EVERY}}
SAMPLES = {"id": "0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b", "seq": "1", "name": "home"}

Bearer = Callable[..., httpx.Client]


@pytest.fixture
def bearer(api: str) -> Iterator[Bearer]:
    clients = []

    def make(**claims: Any) -> httpx.Client:
        clients.append(
            httpx.Client(base_url=api, headers={"Authorization": f"Bearer {sign({'sub': 'ann', **claims})}"})
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def operations(api: str) -> list[tuple[str, str, list[str]]]:
    """Every operation of a user: its method, a path that names no row, and the scopes that it says it needs."""
    found = []
    for path, methods in httpx.get(f"{api}/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            for scheme in operation.get("security", []):
                found.append((method, path.format(**SAMPLES), scheme["UserScheme"]))
    return found


def test_every_route_of_a_user_says_which_scopes_it_needs(operations: list[tuple[str, str, list[str]]]) -> None:
    assert len(operations) > 15
    for method, path, scopes in operations:
        right = "read" if method == "get" else "write"
        names = EVERY if method == "delete" and path == "/api/me" else ABOUT.get(path.split("/")[2], EVERY)
        assert scopes == [f"{name}:{right}" for name in names], (method, path)


def test_a_token_with_a_scope_may_do_what_it_says_and_nothing_else(
    bearer: Bearer, operations: list[tuple[str, str, list[str]]]
) -> None:
    every = {scope for _, _, scopes in operations for scope in scopes}
    for method, path, scopes in operations:
        for missing in scopes:
            client = bearer(scope=" ".join(["openid", *sorted(every - {missing})]))
            answer = client.request(method, path)
            assert_problem(answer, 403, "INSUFFICIENT_SCOPE")
            expected = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'
            assert answer.headers["WWW-Authenticate"] == expected
        if "events" not in path:  # whose answer does not end
            assert bearer(scope=" ".join(scopes)).request(method, path).status_code not in (401, 403), (method, path)


def test_a_reader_reads_and_changes_nothing(bearer: Bearer) -> None:
    task = create(bearer(), title="x")
    reader = bearer(scope="openid tasks:read profile")
    assert reader.get(f"/api/tasks/{task['id']}").json() == task
    for answer in (
        reader.delete(f"/api/tasks/{task['id']}"),
        reader.patch(f"/api/tasks/{task['id']}", json={"title": "y"}),
        reader.post("/api/tasks", json={"title": "y"}),
        reader.delete("/api/tasks?status=pending"),
        reader.post("/api/changes/1/undo"),
    ):
        assert_problem(answer, 403, "INSUFFICIENT_SCOPE")
    assert reader.get(f"/api/tasks/{task['id']}").json() == task


@pytest.mark.parametrize("scope", ["", "openid", "tasks", "tasks:*", "tasks:readx", "TASKS:READ", "tasks:write"])
def test_a_scope_that_only_looks_alike_does_not_read(bearer: Bearer, scope: str) -> None:
    assert_problem(bearer(scope=scope).get("/api/tasks"), 403, "INSUFFICIENT_SCOPE")
    assert bearer(scope=scope).get("/api/me").status_code == 200


def test_without_a_scope_a_token_may_do_all(bearer: Bearer) -> None:
    assert bearer().post("/api/tasks", json={"title": "x"}).status_code == 201
    assert bearer().get("/api/export").status_code == 200


def test_whose_role_is_read_only_changes_nothing(
    database_url: str, operations: list[tuple[str, str, list[str]]]
) -> None:
    with serving(settings(database_url=database_url, read_only_roles="viewer,guest")) as url:

        def ask(method: str, path: str, **claims: Any) -> httpx.Response:
            token = sign({"sub": "ann", **claims})
            return httpx.request(method, f"{url}{path}", headers={"Authorization": f"Bearer {token}"})

        for method, path, scopes in operations:
            if any(scope.endswith(":write") for scope in scopes):
                assert_problem(ask(method, path, role="viewer"), 403, "READ_ONLY")
                assert_problem(ask(method, path, role="admin,guest"), 403, "READ_ONLY")
                assert ask(method, path, role="admin").status_code not in (401, 403)
            elif "events" not in path:
                assert ask(method, path, role="viewer").status_code not in (401, 403)
        assert ask("post", "/api/tasks", role="viewer", scope="tasks:write").json()["code"] == "READ_ONLY"


def test_a_route_of_ones_own_that_says_nothing_needs_every_scope(database_url: str) -> None:
    for route_class in (APIRoute, UserRoute):
        router = APIRouter(route_class=route_class)

        @router.get("/api/own/every")
        async def needs_every(user: CurrentUser) -> None: ...

        @router.post("/api/own/every")
        async def writes_every(user: CurrentUser) -> None: ...

        @router.post("/api/own/none")
        async def needs_none(user: AnyUser) -> None: ...

        with serving(settings(database_url=database_url), router=router) as url:
            every = {right: " ".join(f"{name}:{right}" for name in EVERY) for right in ("read", "write")}
            for method, path, scope, status in (
                ("get", "every", "openid", 403),
                ("get", "every", every["write"], 403),
                ("get", "every", every["read"], 200),
                ("post", "every", every["read"], 403),
                ("post", "every", every["write"], 200),
                ("post", "none", "openid", 200),
            ):
                headers = {"Authorization": f"Bearer {sign({'sub': 'ann', 'scope': scope})}"}
                answer = httpx.request(method, f"{url}/api/own/{path}", headers=headers)
                assert answer.status_code == status, (method, path, scope)
