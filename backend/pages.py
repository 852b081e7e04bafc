"""The pages /docs and /redoc: all that they load comes from the API itself, so they need no internet."""

from functools import cache
from hashlib import sha256
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

# Swagger UI and Redoc as npm has them, with their licences. Its code is Django's: nothing of it is imported.
PACKAGE = distribution("drf-spectacular-sidecar")
FOLDER = Path(str(PACKAGE.locate_file("drf_spectacular_sidecar/static/drf_spectacular_sidecar")))
START = """\
const page = document.getElementById("swagger-ui");
SwaggerUIBundle({
  url: page.dataset.url,
  domNode: page,
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  validatorUrl: null,
});
"""
MARGIN = "body { margin: 0; }\n"
# Redoc shows a logo from elsewhere, which no policy here allows: a picture without a point takes its place.
LOGO, NO_LOGO = (
    b"https://cdn.redoc.ly/redoc/logo-mini.svg",
    b"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>",
)
FILES = {
    "swagger-ui-bundle.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-dist/LICENSE",
    "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
    "redoc.standalone.js": "redoc/bundles/redoc.standalone.js",
    "redoc.standalone.js.LICENSE.txt": "redoc/bundles/redoc.standalone.js.LICENSE.txt",
    "redoc.LICENSE.txt": "redoc/LICENSE",
}
OWN = {"start.js": START, "margin.css": MARGIN}
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
# A new name for new content, so that a browser may keep each for good.
BELOW = f"/docs/{sha256(repr((PACKAGE.version, OWN, NO_LOGO)).encode()).hexdigest()[:12]}"

POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
# Redoc makes its style sheet in the page, and searches in a worker that it makes too.
POLICIES = {"/docs": POLICY, "/redoc": f"{POLICY}; style-src 'self' 'unsafe-inline'; worker-src blob:"}


def headers() -> dict[str, list[tuple[bytes, bytes]]]:
    """Return what the answers of this module say of caches and policies, by path."""
    kept = [
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"content-security-policy", b"default-src 'none'"),
    ]
    found = {f"{BELOW}/{name}": kept for name in (*FILES, *OWN)}
    for path, policy in POLICIES.items():
        found[path] = [(b"cache-control", b"no-store"), (b"content-security-policy", policy.encode())]
    return found


def _page(title: str, head: str, body: str) -> HTMLResponse:
    return HTMLResponse(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
{head}
</head>
<body>
{body}
</body>
</html>
"""
    )


async def _docs(request: Request) -> Response:
    root = escape(request.scope["root_path"])
    return _page(
        "Better Tasks: the API",
        f'<link rel="stylesheet" href="{root}{BELOW}/swagger-ui.css">',
        f"""<div id="swagger-ui" data-url="{root}/openapi.json"></div>
<script src="{root}{BELOW}/swagger-ui-bundle.js"></script>
<script src="{root}{BELOW}/start.js"></script>""",
    )


async def _redoc(request: Request) -> Response:
    root = escape(request.scope["root_path"])
    return _page(
        "Better Tasks: the API",
        f'<link rel="stylesheet" href="{root}{BELOW}/margin.css">',
        f"""<redoc spec-url="{root}/openapi.json"></redoc>
<script src="{root}{BELOW}/redoc.standalone.js"></script>""",
    )


@cache
def _content(name: str) -> bytes:
    if name in OWN:
        return OWN[name].encode()
    return (FOLDER / FILES[name]).read_bytes().replace(LOGO, NO_LOGO)


async def _file(request: Request) -> Response:
    name = request.scope["path"].rpartition("/")[2]
    return Response(await run_in_threadpool(_content, name), media_type=MEDIA_TYPES[Path(name).suffix])


def routes() -> list[BaseRoute]:
    """Return the routes of the pages and of their files."""
    files = [Route(f"{BELOW}/{name}", _file, include_in_schema=False) for name in (*FILES, *OWN)]
    return [Route("/docs", _docs, include_in_schema=False), Route("/redoc", _redoc, include_in_schema=False), *files]
