"""Behind a proxy that strips a prefix: what the API says of itself has the prefix in front."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tests.conftest import serving, settings, sign
from tests.helpers import assert_problem, create
from tests.project import free_port
from tests.servers import program, running

HEADER = "X-Forwarded-Prefix"
SAYS = f"proxy_set_header {HEADER} /backend;"
NGINX = """
pid {folder}/pid; error_log stderr; events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port};
        location /backend/ {{ proxy_pass {api}/; {says} }}
    }}
}}
"""


def user() -> dict[str, str]:
    return {"Authorization": f"Bearer {sign({'sub': 'ann'})}"}


@contextmanager
def api(database_url: str, **own: Any) -> Iterator[httpx.Client]:
    with (
        serving(settings(database_url=database_url, **own)) as url,
        httpx.Client(base_url=url, headers=user()) as client,
    ):
        yield client


def assert_has_prefix(client: httpx.Client, prefix: str, **headers: str) -> None:
    """Check what the API says of itself, asked for it as a proxy that has stripped the prefix does."""
    for base in ("/api", "/api/v1"):
        made = client.post(f"{base}/tasks", json={"title": "x"}, headers=headers)
        assert made.status_code == 201
        assert made.headers["Location"] == f"{prefix}{base}/tasks/{made.json()['id']}"
        client.patch(f"{base}/tasks/{made.json()['id']}", json={"title": "y"})
        create(client)
        for path in (f"{base}/tasks", f"{base}/tasks/{made.json()['id']}/history"):
            link = client.get(f"{path}?limit=1", headers=headers).headers["Link"]
            assert link.startswith(f"<{prefix}{path}?limit=1&cursor=")
    assert client.get("/openapi.json", headers=headers).json().get("servers") == ([{"url": prefix}] if prefix else None)
    for page in ("/docs", "/redoc"):
        assert f'{prefix}/openapi.json"' in client.get(page, headers=headers).text
    assert f" {prefix}/docs." in client.get("/nowhere", headers=headers).json()["detail"]
    assert client.put("/api/tasks", headers=headers).headers["Allow"] == "GET, HEAD, POST, PATCH, DELETE"
    assert_problem(client.get("/api/tasks?x=1", headers=headers), 422, "VALIDATION_ERROR")
    assert_problem(client.post("/api/tasks", content=b"x" * 70_000, headers=headers), 413, "BODY_TOO_LARGE")
    assert client.post("/api/import", content=b" " * 70_000, headers=headers).status_code != 413


@pytest.mark.parametrize(
    ("said", "prefix"),
    [("", ""), ("/", ""), ("/backend", "/backend"), ("/a/b-2/", "/a/b-2"), ("/api", "/api"), ("/%41~._", "/%41~._")],
)
def test_root_path_is_in_front_of_all_that_the_api_says(database_url: str, said: str, prefix: str) -> None:
    with api(database_url, root_path=said) as client:
        assert_has_prefix(client, prefix)


def test_a_trusted_proxy_says_the_prefix_and_wins(database_url: str) -> None:
    for own in ({}, {"root_path": "/other"}):
        with api(database_url, **own) as client:
            assert_has_prefix(client, "/backend", **{HEADER: "/backend/"})
            assert_has_prefix(client, own.get("root_path", ""))


def test_a_client_is_named_and_the_prefix_is_taken_by_the_word_of_one_proxy(database_url: str) -> None:
    with api(database_url) as client:
        assert_has_prefix(client, "/backend", **{HEADER: "/backend", "X-Forwarded-For": "203.0.113.9"})


@pytest.mark.parametrize("proxies", ["192.0.2.1", "10.0.0.0/8", "::1"])
def test_the_word_of_anybody_else_changes_nothing(database_url: str, proxies: str) -> None:
    with api(database_url, forwarded_allow_ips=proxies) as client:
        assert_has_prefix(client, "", **{HEADER: "/backend"})
        assert_has_prefix(client, "", **{HEADER: "/backend", "X-Forwarded-For": proxies})


@pytest.mark.parametrize(
    "forged",
    [
        *("backend", "https://evil.example", "//evil.example", "/a//b", "/a b", "/a?x", "/a#x", '/a"b', "/a'b", "/a<b"),
        *("/a&b", "/a,/b", "/a\\b", "/%zz", "/é", "/" + "a" * 300, "/.", "/a/../b", "/%2e%2E/b", "/..%2Fb"),
    ],
)
def test_what_is_no_prefix_is_passed_over(database_url: str, forged: str) -> None:
    with api(database_url) as client:
        answer = client.get("/openapi.json", headers=[(HEADER.encode(), forged.encode())])
        assert (answer.status_code, answer.json().get("servers")) == (200, None)


def test_uvicorns_own_option_does_the_same(database_url: str) -> None:
    with (
        serving(settings(database_url=database_url), root_path="/backend") as url,
        httpx.Client(base_url=url, headers=user()) as client,
    ):
        assert_has_prefix(client, "/backend")


@contextmanager
def behind_nginx(database_url: str, says: str = SAYS) -> Iterator[str]:
    """Yield the URL of an nginx which has the API at /backend/, by what it says or else by ROOT_PATH."""
    own = settings(database_url=database_url, root_path="" if says else "/backend")
    with TemporaryDirectory(prefix="better-tasks-") as folder, serving(own) as url:
        port = free_port()
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, port=port, api=url, says=says))
        command = [program("nginx"), "-c", str(configuration), "-p", folder, "-g", "daemon off;"]
        with running(command, port):
            yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("says", [SAYS, ""])
def test_a_client_behind_nginx_can_follow_every_link(database_url: str, says: str) -> None:
    with behind_nginx(database_url, says) as site:
        headers = {"Authorization": f"Bearer {sign({'sub': f'behind nginx {bool(says)}'})}"}
        with httpx.Client(base_url=site, headers=headers) as client:
            made = [client.post("/backend/api/tasks", json={"title": title}) for title in "abc"]
            assert [client.get(answer.headers["Location"]).json()["title"] for answer in made] == ["a", "b", "c"]
            page, titles = client.get("/backend/api/tasks?limit=1&sort=title"), []
            while True:
                titles += [task["title"] for task in page.json()]
                if "Link" not in page.headers:
                    break
                page = client.get(page.headers["Link"][1:].partition(">")[0])
            assert titles == ["a", "b", "c"]
            described = re.search(r'"(\S+/openapi\.json)"', client.get("/backend/docs").text)
            assert described
            document = client.get(described[1]).json()
            assert client.get(f"{document['servers'][0]['url']}/api/me").status_code == 200
