"""What the API says of itself is true, whole, and enough to generate a client from."""

import json
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from backend.auth import CurrentUser
from backend.resources import RESOURCES, belongs_to
from backend.routing import UserRoute
from tests.conftest import serving, settings, sign
from tests.helpers import assert_schemathesis_finds_nothing
from tests.project import installed

EVENTS = "/api/security-events"  # of no user
FOLDER = Path(__file__).parent / "openapi"


@pytest.fixture
def description(api: str) -> dict[str, Any]:
    answer = httpx.get(f"{api}/openapi.json")
    document: dict[str, Any] = answer.json()
    return document


def test_schemathesis_finds_nothing(api: str, tmp_path: Path) -> None:
    token = sign({"sub": f"schemathesis-{uuid.uuid4()}"})
    # Not of tables with a parent: what it makes up for the parent's id is nobody's.
    children = [one.path for one in RESOURCES if any(map(belongs_to, one.model.model_fields.values()))]
    left_out = ["--exclude-path-regex", f"^({'|'.join(children)})"] if children else []
    assert_schemathesis_finds_nothing(f"{api}/openapi.json", token, tmp_path, *left_out)


def test_openapi_typescript_makes_types_that_a_strict_client_compiles_with(
    description: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    packages = installed(root / "frontend") / "node_modules"
    (tmp_path / "openapi.json").write_text(json.dumps(description))
    shutil.copy(FOLDER / "client.ts", tmp_path)
    (tmp_path / "node_modules").symlink_to(packages)
    compiler = [
        "tsc",
        "--strict",
        "--noEmit",
        "--target",
        "es2022",
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
    ]
    for program, *arguments in (["openapi-typescript", "openapi.json", "-o", "schema.d.ts"], [*compiler, "client.ts"]):
        run = subprocess.run([packages / ".bin" / program, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    # What the frontend is written against.
    same = (tmp_path / "schema.d.ts").read_text() == (root / "frontend" / "client" / "schema.d.ts").read_text()
    assert same, "The API has changed. With it running, run: npm --prefix frontend run types"


def test_every_operation_says_what_it_does_and_takes(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            for parameter in operation.get("parameters", []):
                assert parameter["description"], (method, path, parameter["name"])
            body = operation.get("requestBody", {}).get("content", {"application/json": {}})
            assert list(body) == ["application/secevent+jwt" if path == EVENTS else "application/json"]


def test_every_schema_that_is_named_is_there(description: dict[str, Any]) -> None:
    text = json.dumps(description)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= description["components"]["schemas"].keys()
    assert description["components"]["schemas"].keys() <= named


def test_every_operation_is_called_as_its_route(description: dict[str, Any]) -> None:
    operations = [one for path in description["paths"].values() for one in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {"list_tasks", "create_task", "read_task", "replace_task", "update_task", "delete_task"} < set(names)
    assert {"update_tasks", "delete_tasks", "list_task_history", "list_tags", "import_all", "read_me"} < set(names)


def test_no_two_schemas_have_one_title_or_names_that_generators_take_for_one(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    assert [schema["title"] for schema in schemas.values()] == list(schemas)
    assert len({re.sub(r"[^a-z0-9]", "", name.lower()) for name in schemas}) == len(schemas)


def test_every_enum_is_named_and_so_is_each_of_its_values(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    named = {name: schema.pop("x-enum-varnames") for name, schema in schemas.items() if schema.pop("enum", None)}
    assert '"enum"' not in json.dumps(description)
    assert named["Priority"] == ["LOW", "MEDIUM", "HIGH"]
    assert named["ListTasksSort"][:4] == ["CREATED_AT", "CREATED_AT_DESC", "UPDATED_AT", "UPDATED_AT_DESC"]
    for name, values in named.items():
        assert len(set(values)) == len(values), name
        assert all(re.fullmatch("[A-Z][A-Z0-9_]*", value) for value in values), name


def test_what_a_route_of_ones_own_takes_and_answers_is_named_too(database_url: str) -> None:
    more = APIRouter(prefix="/api/more", route_class=UserRoute)

    @more.get("/picture", response_class=FileResponse)
    async def picture(user: CurrentUser, sizes: Annotated[list[Literal["-1", "1"]] | None, Query()] = None) -> None: ...

    @more.post("/both")
    async def both(user: CurrentUser, body: tuple[Literal[1, "a"], Any]) -> Literal["a-b", "a b", "é"]:
        return "é"

    with serving(settings(database_url=database_url), router=more) as url:
        described = httpx.get(f"{url}/openapi.json").json()
    [sizes] = [schema for name, schema in described["components"]["schemas"].items() if name.endswith("Sizes")]
    assert sizes["x-enum-varnames"] == ["VALUE_1_DESC", "VALUE_1"]
    answer = described["paths"]["/api/more/both"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["x-enum-varnames"] == ["A_B", "A_B_1", "VALUE"]


def test_the_headers_of_an_answer_are_described(description: dict[str, Any]) -> None:
    described = {
        (method, path, status): set(response.get("headers", {}))
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        for status, response in operation["responses"].items()
    }
    everywhere = {"X-Request-ID", "API-Version", "RateLimit", "RateLimit-Policy"}
    own = {
        ("get", "", "200"): {"Link", "Next-Cursor"},
        ("post", "", "201"): {"Location", "ETag", "Idempotency-Replayed"},
        ("get", "/{id}", "200"): {"ETag"},
        ("put", "/{id}", "200"): {"ETag"},
        ("patch", "/{id}", "200"): {"ETag"},
        ("get", "/{id}/history", "200"): {"Link", "Next-Cursor"},
    }
    expected = {
        (method, f"{resource.path}{below}", status): own[method, below, status]
        for resource in RESOURCES
        for method, below, status in own
    }
    for method in ("put", "patch"):
        expected[method, "/api/tasks/{id}", "200"] = {"ETag", "Link"}
    for (method, path, status), names in described.items():
        is_write = method != "get" and status in ("200", "201", "204")
        assert ("Change" in names) == is_write, (method, path, status)
        names.discard("Change")
    said = {place: names - everywhere for place, names in described.items() if place[2] in ("200", "201")}
    assert {place: names for place, names in said.items() if names} == expected
    for (method, path, status), names in described.items():
        if path.startswith("/api/") and path != EVENTS:
            assert everywhere <= names, (method, path, status)
            assert ("Retry-After" in names) is (status in ("429", "503")), (method, path, status)
            assert ("WWW-Authenticate" in names) is (status in ("401", "403")), (method, path, status)
