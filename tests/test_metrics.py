"""What Prometheus is told: the right figures, of every process, and no more series than there are routes."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.conftest import SECRET, serving, settings, sign
from tests.helpers import BAD, THREE, create, user
from tests.project import Copy, wait_until

Figures = dict[str, float]


def figures(url: str) -> Figures:
    """Return every sample of `/metrics`, by its name and labels."""
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def requests(found: Figures, route: str, status: int, method: str = "GET") -> float:
    labels = f'method="{method}",route="{route}",status="{status}"'
    return found.get(f"http_request_duration_seconds_count{{{labels}}}", 0)


@pytest.fixture
def before(api: str) -> Figures:
    return figures(api)


def more(api: str, before: Figures, name: str) -> float:
    return figures(api).get(name, 0) - before.get(name, 0)


def test_requests_are_counted_by_the_path_of_their_route(api: str, ann: httpx.Client, before: Figures) -> None:
    task = create(ann)
    for path in (f"/api/tasks/{task['id']}", f"/api/v1/tasks/{task['id']}"):
        ann.get(path)
    ann.get("/api/tasks/01980000-0000-7000-8000-000000000000")
    ann.get("/nowhere/hunter2")
    ann.request("PROPFIND", "/api/tasks")
    after = figures(api)
    assert requests(after, "/api/tasks/{id}", 200) - requests(before, "/api/tasks/{id}", 200) == 2
    assert requests(after, "/api/tasks/{id}", 404) - requests(before, "/api/tasks/{id}", 404) == 1
    assert requests(after, "other", 404) - requests(before, "other", 404) == 1
    assert requests(after, "/api/tasks", 405, "other") - requests(before, "/api/tasks", 405, "other") == 1
    assert "hunter2" not in str(after).lower()
    assert task["id"] not in str(after)


def test_time_is_counted_into_buckets(api: str, ann: httpx.Client, before: Figures) -> None:
    ann.get("/api/tags")
    labels = 'method="GET",route="/api/tags",status="200"'
    buckets = [f'http_request_duration_seconds_bucket{{le="{le}",{labels}}}' for le in ("0.001", "10.0", "+Inf")]
    assert [more(api, before, bucket) for bucket in buckets[1:]] == [1, 1]
    assert 0 < more(api, before, f"http_request_duration_seconds_sum{{{labels}}}") < 10
    assert more(api, before, "database_statement_duration_seconds_count") >= 1


def test_refused_tokens_are_counted_by_reason(api: str, before: Figures) -> None:
    httpx.get(f"{api}/api/me", headers=BAD)
    httpx.get(f"{api}/api/me", headers={"Authorization": f"Bearer {sign({'sub': 'ann', 'exp': 1})}"})
    httpx.get(f"{api}/api/me")
    assert more(api, before, 'authentication_failures_total{reason="structure"}') == 1
    assert more(api, before, 'authentication_failures_total{reason="expired"}') == 1


def test_what_a_limit_refuses_is_counted(database_url: str) -> None:
    with serving(settings(database_url=database_url, rate_limit=THREE)) as url:
        before, ann = figures(url), user()
        for _ in range(5):
            httpx.get(f"{url}/api/me", headers=ann)
        assert more(url, before, 'rate_limit_hits_total{limit="user"}') == 2


def test_the_pool_is_shown_and_what_is_run_again_is_counted(database_url: str) -> None:
    with serving(settings(database_url=database_url, db_pool_size=3)) as url:
        before = figures(url)
        assert (before["database_connections_max"], before["database_connections_in_use"]) == (3, 0)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: httpx.get(f"{url}/api/tasks", headers=user()), range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert more(url, before, "database_connection_wait_seconds_count") >= 1
        assert "database_retries_total" in before


def test_every_process_answers_for_all_of_them(copy: Copy, database_url: str) -> None:
    environment = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "DB_POOL_SIZE": "4"}
    with copy.serving("main.py", "--workers", "2", **environment) as (process, url):
        for _ in range(30):  # each on a connection of its own, which either process takes
            assert httpx.get(f"{url}/api/me", headers=user()).status_code == 200
        assert {requests(figures(url), "/api/me", 200) for _ in range(10)} == {30}
        wait_until(lambda: figures(url)["database_connections_max"] == 8)
        served = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        served[0].send_signal(signal.SIGKILL)
        wait_until(lambda: served[0].pid not in {c.pid for c in psutil.Process(process.pid).children()})
        wait_until(lambda: figures(url)["database_connections_max"] == 8)
        assert requests(figures(url), "/api/me", 200) == 30


def test_no_figure_is_an_identity(api: str, ann: httpx.Client) -> None:
    ann.get("/api/me")
    assert not re.search(r"user-[0-9a-f]{8}", httpx.get(f"{api}/metrics").text)
