"""The clients of docs/api.md that keep in step, word for word: they do so again after the API was away."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import execute, serving, settings, sign
from tests.helpers import create, every, path_of
from tests.project import free_port, wait_until
from tests.typescript import compiled

# What is added to the page's code in Python: the last line that it prints is all that it holds.
MAIN = """
import sys
import time
replica = Replica(sys.argv[1], lambda: sys.argv[2], lambda: print(json.dumps(replica.tasks), flush=True))
while True:
    try:
        replica.follow()
    except httpx.HTTPError:
        pass
    time.sleep(0.1)
"""
SAID = "`${tasks.size} tasks`"  # by the page's code in TypeScript
ALL = "JSON.stringify(Object.fromEntries(tasks))"


def written(root: Path, language: str) -> str:
    section = (root / "docs" / "api.md").read_text().partition("## Keeping a client in step\n")[2].partition("\n## ")[0]
    [code] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(code)


@pytest.fixture(params=["python", "ts"])
def command(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> list[str]:
    """How the client is run."""
    code = written(root, request.param)
    if request.param == "python":
        (tmp_path / "replica.py").write_text(code + MAIN)
        return [sys.executable, str(tmp_path / "replica.py")]
    project: Path = request.getfixturevalue("client_project")
    assert code.count(SAID) == 1
    compiled(project, {"replica.ts": code.replace(SAID, ALL)})
    return ["node", str(project / "js" / "replica.js")]


class Running:
    """A client that runs, and what it said last that it holds."""

    def __init__(self, command: list[str], url: str, token: str) -> None:
        environment = {**os.environ, "API_URL": url, "TOKEN": token}
        self.process = subprocess.Popen(
            [*command, url, token], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.held: Any = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.held = json.loads(line)

    def has(self, tasks: list[dict[str, Any]]) -> bool:
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
        return bool(self.held == {task["id"]: task for task in tasks})


@pytest.fixture
def running(command: list[str]) -> Iterator[Any]:
    started: list[Running] = []

    def run(url: str, token: str) -> Running:
        started.append(Running(command, url, token))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.communicate()


def test_a_client_is_not_longer_than_a_page(root: Path) -> None:
    for language in ("python", "ts"):
        assert len([line for line in written(root, language).splitlines() if line.strip()]) <= 42


def test_a_client_of_the_page_keeps_in_step_and_comes_back(running: Any, database_url: str) -> None:
    port, token = free_port(), sign({"sub": f"replica-{free_port()}"})
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        with serving(settings(database_url=database_url), port):
            tasks = [{"id": f"0199f2b6-6f0e-7c59-a4a5-2c1f3f0a{number:04}", "title": "x"} for number in range(600)]
            client.post("/api/import", json={"version": 1, "tasks": tasks}).raise_for_status()
            replica = running(url, token)
            wait_until(lambda: replica.has(every(client, "/api/tasks?limit=500")))
            task = create(client, title='"a"\ndata: {}\n\nevent: end ü')
            client.patch("/api/tasks?status=pending", json={"priority": "low"}).raise_for_status()
            client.delete(f"/api/tasks/{tasks[7]['id']}").raise_for_status()
            wait_until(lambda: replica.has(every(client, "/api/tasks?limit=500")))
        with (  # what happens while it cannot know
            serving(settings(database_url=database_url)) as other,
            httpx.Client(base_url=other, headers=client.headers) as elsewhere,
        ):
            elsewhere.patch(path_of(task), json={"title": "while away"}).raise_for_status()
            elsewhere.delete("/api/tasks?q=x").raise_for_status()
            left = every(elsewhere, "/api/tasks?limit=500")
        with serving(settings(database_url=database_url), port):
            wait_until(lambda: replica.has(left))
        # Away for so long that the log does not reach back so far.
        shorten = "SET app.user_id = %s; INSERT INTO change (user_id, seq, resource, id, action, attempt) VALUES"
        shorten += " (%s, 999, 'tags', 'x', 'deleted', 1); DELETE FROM change WHERE user_id = %s AND seq < 999"
        execute(database_url, shorten, *[task["user_id"]] * 3)
        with serving(settings(database_url=database_url), port):
            create(client, title="new")
            wait_until(lambda: replica.has(every(client, "/api/tasks?limit=500")))
