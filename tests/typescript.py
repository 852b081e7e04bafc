"""TypeScript in a project of its own: the packages of frontend/, and its client as others get it."""

import json
import re
import subprocess
import tarfile
from collections.abc import Mapping
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from tests.project import installed

STRICT = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "target": "es2022",
    "lib": ["es2023", "dom", "dom.iterable"],
    "module": "esnext",
    "moduleResolution": "bundler",
    "jsx": "react-jsx",
    "types": ["node"],
    "outDir": "js",
    "rootDir": ".",
}


@pytest.fixture(scope="session")
def client_project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of the frontend, in which the client is installed from its package."""
    folder = tmp_path_factory.mktemp("project")
    frontend = installed(root / "frontend")
    with (frontend / "client" / "package.json").open() as lock:
        flock(lock, LOCK_EX)  # tests of two files may run at once
        pack = ["npm", "pack", "--workspace", "client", "--pack-destination", str(folder)]
        subprocess.run(pack, cwd=frontend, check=True, capture_output=True)
    packages = folder / "node_modules"
    packages.mkdir()
    for package in (frontend / "node_modules").iterdir():
        if package.name != "better-tasks-client":
            (packages / package.name).symlink_to(package)
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        packed.extractall(folder, filter="data")
    (folder / "package").rename(packages / "better-tasks-client")
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


# What of Expo the page uses, with the signatures of its SDK 57, on what Node has.
EXPO = {
    "expo/fetch.d.ts": """
interface Init { body?: BodyInit | null; headers?: HeadersInit; method?: string; signal?: AbortSignal | null }
interface Like { url: string; body: BodyInit | null; method: string; headers: Headers }
export declare function fetch(input: string | URL | Like, init?: Init): Promise<Response>;
""",
    "expo/fetch.js": "export const fetch = (...request) => globalThis.fetch(...request);",
    "expo/package.json": '{"type": "module", "exports": {"./fetch": "./fetch.js"}}',
    "expo-secure-store/index.d.ts": """
export declare function getItem(key: string): string | null;
export declare function setItem(key: string, value: string): void;
""",
    "expo-secure-store/index.js": """
const items = new Map();
export const getItem = (key) => items.get(key) ?? null;
export const setItem = (key, value) => void items.set(key, value);
""",
    "expo-secure-store/package.json": '{"type": "module", "exports": "./index.js"}',
}


@pytest.fixture(scope="session")
def pasted(client_project: Path, guide: str) -> Path:
    """That folder, with each module that docs/better-auth.md shows whole, as pasted, compiled."""
    for name, text in EXPO.items():
        path = client_project / "node_modules" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    shown = re.findall(r"```tsx?\n// (?:(?:frontend/)?lib/)?([\w-]+\.tsx?)\n(.*?)```", guide, re.DOTALL)
    modules: dict[str, str] = {}
    for name, text in shown:
        modules.setdefault(name, text)  # the first auth.ts, and not what recipes add to it
    wanted = {"auth.ts", "auth-client.ts", "page.tsx", "tasks.tsx", "api.ts", "overdue.ts"}
    compiled(client_project, {name: modules[name] for name in wanted}, skipLibCheck=True)
    return client_project


def compiled(folder: Path, files: Mapping[str, str], **more: bool) -> None:
    """Write modules, check their types strictly, and compile them to `js/`."""
    for name, source in files.items():
        (folder / name).write_text(source)
    options = {"files": [*files], "compilerOptions": STRICT | more}
    (folder / "tsconfig.json").write_text(json.dumps(options))
    ended = subprocess.run(["node_modules/.bin/tsc"], cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    for module in (folder / "js").glob("*.js"):  # as bundlers do, find a module without the end of its name
        module.write_text(re.sub(r'from "(\./[^".]*)"', r'from "\1.js"', module.read_text()))
