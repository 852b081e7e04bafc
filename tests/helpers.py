"""What several tests need: tasks, lists of them, problems, limits, and requests at the same time."""

import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import psycopg2

from tests.conftest import sign

FULL = {
    "title": "Water the plants",
    "description": "All of them",
    "status": "in_progress",
    "priority": "high",
    "due_date": "2030-01-31T09:00:00+01:00",
    "recurrence_rule": "FREQ=WEEKLY;BYDAY=MO",
    "tags": ["home", "green"],
}


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/tasks", json={"title": "A task", **fields})
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def requests_for(path: str) -> list[tuple[str, str, dict[str, Any] | None]]:
    return [
        ("GET", path, None),
        ("PUT", path, {"title": "Mine now"}),
        ("PATCH", path, {"title": "Mine now"}),
        ("PATCH", path, {}),
        ("DELETE", path, None),
    ]


# A window that no test sees the end of.
THREE = "3 per 100 years"
BAD = {"Authorization": "Bearer bad"}


def user() -> dict[str, str]:
    """The header of a user that no other test knows."""
    return {"Authorization": f"Bearer {sign({'sub': f'user-{uuid.uuid4()}'})}"}


Task = dict[str, Any]


def ids(tasks: list[Task]) -> list[str]:
    return [task["id"] for task in tasks]


def next_page(answer: httpx.Response) -> str | None:
    assert answer.status_code == 200, answer.text
    link: str | None = answer.headers.get("Link")
    following = link and link.removeprefix("<").removesuffix('>; rel="next"')
    assert answer.headers.get("Next-Cursor") == (following and httpx.URL(following).params["cursor"])
    return following


def pages(client: httpx.Client, path: str) -> Iterator[list[Task]]:
    """Yield each page of a list, found by its link."""
    following: str | None = path
    while following:
        answer = client.get(following)
        following = next_page(answer)
        yield answer.json()


def every(client: httpx.Client, path: str) -> list[Task]:
    return [task for page in pages(client, path) for task in page]


def path_of(task: dict[str, Any]) -> str:
    return f"/api/tasks/{task['id']}"


def at_once(count: int, send: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Return the answers of requests that are sent at the same moment, each with its number."""
    start = Barrier(count)

    def run(number: int) -> httpx.Response:
        start.wait()
        return send(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def waiting_for(cursor: Any) -> int:
    """Return how many wait for what the transaction of a cursor holds, on whichever node."""
    cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
    [(here,)] = cursor.fetchall()
    cursor.execute("SELECT to_regclass('citus_lock_waits')")
    if cursor.fetchall() == [(None,)]:
        return int(here)
    cursor.execute("SELECT count(*) FROM citus_lock_waits WHERE blocking_gpid = citus_backend_gpid()")
    [(elsewhere,)] = cursor.fetchall()
    return int(here + elsewhere)


def meanwhile(url: str, task: dict[str, Any], statement: str, send: Callable[[], httpx.Response]) -> httpx.Response:
    """Return the answer to a request that waits for a transaction with this statement on the task it is about."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor, ThreadPoolExecutor(1) as threads:
            cursor.execute("SELECT set_config('app.user_id', %s, true)", [task["user_id"]])
            cursor.execute(f"{statement} WHERE user_id = %s AND id = %s", [task["user_id"], task["id"]])
            assert cursor.rowcount == 1
            answer = threads.submit(send)
            waits = False
            while not (waits or answer.done()):
                waits = waiting_for(cursor) > 0
            assert waits
            connection.commit()
            return answer.result()
    finally:
        connection.close()


def assert_schemathesis_finds_nothing(url: str, token: str, folder: Path, *more: str) -> None:
    """Send the requests that an API's description makes up, good and bad; the folder keeps what is found."""
    program = shutil.which("schemathesis")
    assert program, "schemathesis is a development dependency"
    arguments = ["--max-examples", "20", "--generation-deterministic", "--no-color", *more]
    config = Path(__file__).parent / "openapi" / "schemathesis.toml"
    run = subprocess.run(
        [program, "--config-file", str(config), "run", url, "-H", f"Authorization: Bearer {token}", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.openapi.hooks",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-6000:]
    assert "Test cases:" in run.stdout
