"""What a user can do with their tasks, through HTTP."""

import httpx


def test_a_created_task_can_be_read(ann: httpx.Client) -> None:
    created = ann.post("/api/tasks", json={"title": "Buy milk"})
    assert created.status_code == 201
    read = ann.get(created.headers["Location"])
    assert read.status_code == 200
    assert read.json() == created.json()
