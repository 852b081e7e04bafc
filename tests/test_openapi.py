"""What the API says of itself is true, whole, and enough to generate a client from."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.resources import RESOURCES, belongs_to
from tests.conftest import sign
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
    same = (tmp_path / "schema.d.ts").read_text() == (root / "frontend" / "lib" / "schema.d.ts").read_text()
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
    assert description["components"]["schemas"].keys() - {"Document-Input"} <= named | {"Document"}


def test_the_headers_of_an_answer_are_described(description: dict[str, Any]) -> None:
    described = {
        (method, path, status): set(response.get("headers", {}))
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        for status, response in operation["responses"].items()
    }
    everywhere = {"X-Request-ID", "API-Version", "RateLimit", "RateLimit-Policy"}
    own = {
        ("get", "", "200"): {"Link"},
        ("post", "", "201"): {"Location", "ETag", "Idempotency-Replayed"},
        ("get", "/{id}", "200"): {"ETag"},
        ("put", "/{id}", "200"): {"ETag"},
        ("patch", "/{id}", "200"): {"ETag"},
        ("get", "/{id}/history", "200"): {"Link"},
    }
    expected = {
        (method, f"{resource.path}{below}", status): own[method, below, status]
        for resource in RESOURCES
        for method, below, status in own
    }
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
