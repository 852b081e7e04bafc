"""SIGTERM under load: what was asked for is answered, nothing is cut, and the process ends."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import SECRET, sign
from tests.project import Copy, wait_until


class Clients:
    """Clients with connections that they keep, and ones that connect anew for each request, until nobody listens."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answered = 0
        self.cut: list[Exception] = []
        self.created: set[str] = set()
        self._lock = threading.Lock()

    def work(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {sign({'sub': 'ann'})}", "Connection": ("keep-alive", "close")[number % 2]}
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as client:
            while True:
                try:
                    answer = client.post("/api/tasks", json={"title": "x"})
                except httpx.ConnectError:
                    return  # nobody listens any more, which is all that may happen
                except httpx.HTTPError as error:
                    self.cut.append(error)
                    return
                assert answer.status_code == 201
                with self._lock:
                    self.answered += 1
                    self.created.add(answer.json()["id"])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_is_told_to_end_cuts_nobody_off(copy: Copy, database_url: str, workers: str) -> None:
    environment = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "RATE_LIMIT": "", "LOG_LEVEL": "warning"}
    with copy.serving("main.py", "--workers", workers, **environment) as (process, url):
        clients = Clients(url)
        with ThreadPoolExecutor(20) as pool:
            working = [pool.submit(clients.work, number) for number in range(20)]
            wait_until(lambda: clients.answered > 200)
            told = time.monotonic()
            process.send_signal(signal.SIGTERM)
            for each in working:
                each.result()
        out, err = process.communicate()
    assert clients.cut == []
    assert process.returncode == 0, (out, err)
    assert time.monotonic() - told < 10
    assert len(clients.created) == clients.answered
