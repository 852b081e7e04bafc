"""frontend/client/, packed as docs/better-auth.md says: it does in Node what the page promises."""

import os
import re
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.conftest import sign
from tests.typescript import compiled

USES = (Path(__file__).parent / "clients" / "use_better_tasks_client.ts").read_text()


@pytest.fixture(scope="module")
def uses(client_project: Path) -> Path:
    compiled(client_project, {"uses.ts": USES})
    return client_project / "js" / "uses.js"


@pytest.mark.parametrize("name", re.findall(r'^test\("([^"]*)"', USES, re.MULTILINE))
def test_with_the_typescript_client(name: str, uses: Path, api: str) -> None:
    environment = {**os.environ, "API_URL": api, "TOKEN": sign({"sub": f"client-{uuid.uuid4()}"})}
    command = ["node", "--test-reporter=spec", f"--test-name-pattern=^{re.escape(name)}$", str(uses)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "pass 1" in ended.stdout
