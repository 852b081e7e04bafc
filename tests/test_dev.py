"""`main.py dev`: one command for the database, the API and the frontend."""

import os
import shutil
import signal
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import SECRET
from tests.project import Copy, answers, free_port, installed, wait_until

NPM_NEEDS = ("npm_", "node_", "http_proxy", "https_proxy", "no_proxy")


@pytest.fixture
def with_node(copy: Copy) -> Copy:
    if not shutil.which("npm"):
        pytest.skip("Node is not installed")
    # How this machine's npm reaches its packages is no setting of ours.
    copy.environment |= {name: value for name, value in os.environ.items() if name.lower().startswith(NPM_NEEDS)}
    return copy


def give_packages(copy: Copy, root: Path) -> None:
    """Spare a copy the installation of the frontend's packages, which takes as long as all the rest."""
    packages = installed(root / "frontend") / "node_modules"
    shutil.copytree(packages, copy.folder / "frontend" / "node_modules", symlinks=True, copy_function=os.link)
    os.utime(copy.folder / "frontend" / "package-lock.json", (0, 0))  # or they would seem to be older than it


@pytest.mark.parametrize("ended_by", ["ctrl-c", "its web server"])
def test_one_command_starts_all_of_it_from_a_fresh_clone_and_ends_it_as_one(
    with_node: Copy, root: Path, ended_by: str
) -> None:
    if ended_by == "its web server":  # and with packages that are there, and a .env that names another Better Auth
        with_node.environment["JWT_SIGNING"] = "secret"
        give_packages(with_node, root)
        (with_node.folder / ".env").write_text(f"BETTER_AUTH_SECRET='{SECRET}'\nJWT_ISSUER=https://elsewhere.test\n")
    port, web_port = free_port(), free_port()
    url, web = f"http://localhost:{port}", f"http://localhost:{web_port}"
    process = with_node.start("main.py", "dev", "--port", str(port), "--web-port", str(web_port))
    try:
        wait_until(lambda: answers(url) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        with httpx.Client(base_url=web, headers={"Origin": web}, timeout=60) as person:
            account = {"name": "Ann", "email": "ann@example.test", "password": "correct horse battery"}
            person.post("/api/auth/sign-up/email", json=account).raise_for_status()
            assert "Ann" in person.get("/today").text
            token = person.get("/api/auth/token").json()["token"]
        me = httpx.get(f"{url}/api/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json()["email"] == "ann@example.test"
        made = with_node.run("main.py", "token", "--user", "alice", JWT_ISSUER=web).stdout.strip()
        me = httpx.get(f"{url}/api/me", headers={"Authorization": f"Bearer {made}"})
        assert me.json()["user_id"] == "alice"
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) > 2
    finally:
        if ended_by == "ctrl-c":
            for _ in range(3):  # as people do it, and as terminals and uv pass it on
                process.send_signal(signal.SIGINT)
        else:
            of_it = psutil.Process(process.pid).children() if process.poll() is None else []
            for server in (each for each in of_it if "next" in " ".join(each.cmdline())):
                server.kill()
        out, err = process.communicate()
    assert process.returncode == (0 if ended_by == "ctrl-c" else 1), (out, err)
    assert ("web has ended, and so all of it has" in err) == (ended_by == "its web server")
    assert "Traceback" not in out + err
    lines = out.splitlines()
    assert f"Better Tasks   {web}" in lines
    assert f"api |   a token      JWT_ISSUER={web} uv run main.py token --user alice" in lines
    for name in ("api", "web"):
        assert [line for line in lines if line.startswith(f"{name} | ")]
    wait_until(lambda: not psutil.wait_procs(started, timeout=0)[1])
    assert with_node.ends_postgres()


def test_without_node_it_says_so(copy: Copy, tmp_path: Path) -> None:
    run = copy.run("main.py", "dev", PATH=str(tmp_path))
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "The frontend needs Node 20.9 or newer (nodejs.org). `uv run main.py` runs the API without it\n"
    )


def test_it_is_for_development(copy: Copy) -> None:
    if not shutil.which("npm"):
        pytest.skip("Node is not installed")
    run = copy.run(
        "main.py", "dev", ENVIRONMENT="production", DATABASE_URL="postgresql://x/y", BETTER_AUTH_SECRET="x" * 32
    )
    assert run.returncode == 1
    assert "`dev` is for development" in run.stderr


@pytest.mark.parametrize(
    ("env", "signing", "told"),
    [
        ("BETTER_AUTH_URL=http://localhost:3000\n", "", "BETTER_AUTH_SECRET: is missing in the environment and in "),
        (f"BETTER_AUTH_SECRET='{SECRET}'\nBETTER_AUTH_URL=http://localhost:3000\n", "secret", "then there is no JWKS."),
    ],
)
def test_it_does_not_start_what_could_not_work(with_node: Copy, env: str, signing: str, told: str) -> None:
    (with_node.folder / ".env").write_text(env)
    run = with_node.run("main.py", "dev", JWT_SIGNING=signing)
    assert run.returncode == 1
    assert told in run.stderr
    assert "Traceback" not in run.stderr
