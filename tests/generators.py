"""What makes clients of the API's description, and how each client is compiled and used."""

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import sign
from tests.project import installed

FOLDER = Path(__file__).parent / "clients"
BIN = Path(sys.executable).parent
MODULE = "openapi_python_client_made"
STRICT = "--strict --noUncheckedIndexedAccess --target es2022 --module node16 --moduleResolution node16"
TSC = ["node_modules/.bin/tsc", *STRICT.split(), "--lib", "es2022,dom,dom.iterable", "--outDir", "js"]


def _of_python(folder: Path) -> set[str]:
    return {file.stem for file in (folder / MODULE / "api").glob("*/*.py")} - {"__init__"}


def _of_typescript(file: str) -> Callable[[Path], set[str]]:
    def made(folder: Path) -> set[str]:
        names = re.findall(r"^export const ([a-z]\w*) = (?:async )?[(<]", (folder / file).read_text(), re.MULTILINE)
        return {re.sub(r"(?=[A-Z])", "_", name).lower() for name in names if not re.fullmatch("get.*Url", name)}

    return made


@dataclass(frozen=True)
class Generator:
    """A generator: its command, with what it always says; the operations it made; how to compile these and use them."""

    name: str
    settings: tuple[str, ...]
    command: list[str]
    says: str
    made: Callable[[Path], set[str]]
    compiler: list[str]
    sources: list[str]
    use: list[str]


GENERATORS = (
    Generator(
        "openapi-python-client",
        ("openapi-python-client.yaml", "mypy.ini"),
        f"openapi-python-client generate --path openapi.json --config openapi-python-client.yaml --meta none"
        f" --output-path {MODULE} --fail-on-warning".split(),
        rf"Generating {MODULE}",
        _of_python,
        ["mypy"],
        [MODULE],
        ["python", "use_openapi_python_client.py"],
    ),
    Generator(
        "@hey-api/openapi-ts",
        ("openapi-ts.config.mjs",),
        ["node_modules/.bin/openapi-ts"],
        r".*(openapi-ts v[\d.]+|~ Generating\.\.\.|openapi\.json|✓ .*)",
        _of_typescript("hey-api/sdk.gen.ts"),
        TSC,
        ["hey-api/index.ts", "hey-api/zod.gen.ts"],
        ["node", "js/use_hey_api.js"],
    ),
    Generator(
        "orval",
        ("orval.config.mjs",),
        ["node_modules/.bin/orval"],
        r".*(orval v[\d.]+ - .*|ready to use orval!)",
        _of_typescript("orval/client.ts"),
        TSC,
        ["orval/client.ts", "orval/zod.ts"],
        ["node", "js/use_orval.js"],
    ),
)


def make_a_client(generator: Generator, url: str, folder: Path, *, uses: str = "") -> None:
    """Make a client of a running API, whole and without a warning, compile it strictly, and use it by a program."""
    description = httpx.get(f"{url}/openapi.json")
    (folder / "openapi.json").write_text(description.text)
    for name in (*generator.settings, *([uses] if uses else [])):
        shutil.copy(FOLDER / name, folder)
    if generator.compiler is TSC:
        (folder / "node_modules").symlink_to(installed(FOLDER) / "node_modules")
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "API_URL": url,
        "TOKEN": sign({"sub": f"clients-{uuid.uuid4()}"}),
    }

    def run(*command: str) -> str:
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return re.sub(r"\x1b\[[\d;]*m", "", ended.stdout + ended.stderr)

    said = run(*generator.command).splitlines()
    unusual = [line for line in said if line.strip() and not re.fullmatch(generator.says, line)]
    assert not unusual, "\n".join(unusual)
    operations = [one for path in description.json()["paths"].values() for one in path.values()]
    assert generator.made(folder) == {operation["operationId"] for operation in operations}
    run(*generator.compiler, *generator.sources, *([uses] if uses else []))
    if uses:
        run(*generator.use)
