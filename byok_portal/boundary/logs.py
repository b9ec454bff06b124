"""Structured logs (structlog, JSON lines). No local variable, body, path or exception text: they hold secrets."""

from __future__ import annotations

import logging.config
from typing import TYPE_CHECKING, Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from django.http import HttpRequest
    from structlog.typing import ExcInfo, Processor

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# show_locals=False: the default prints every local variable of every frame (ecosystem.md section 7).
_transform = ExceptionDictTransformer(show_locals=False)


def _as_data(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Types and frames. An exception's text may quote a header that was sent or a row that was refused."""
    stacks = _transform(exc_info)
    return [{name: stack[name] for name in ("exc_type", "is_cause", "frames")} for stack in stacks]


def _as_text(exc_info: ExcInfo) -> str:
    """The same as text, because the console renderer cannot print data there: it would lose the whole line."""
    lines = []
    for stack in _as_data(exc_info):
        lines += [f"  {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in stack["frames"]]
        lines.append(stack["exc_type"])
    return "\n".join(lines)


_AS_DATA: Processor = structlog.processors.ExceptionRenderer(_as_data)
_AS_TEXT: Processor = structlog.processors.ExceptionRenderer(_as_text)


def configure(*, level: str, plain: bool) -> None:
    """Send every logger, Django's included, through one formatter on standard error."""
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if plain
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    shared = [*_SHARED, _AS_TEXT if plain else _AS_DATA]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(_logging(level, renderer, shared))


def route_of(request: HttpRequest) -> str:
    """The pattern that a request's path matched, or `unmatched`."""
    return str(request.resolver_match.route) if request.resolver_match else "unmatched"


class RouteForPath(logging.Filter):
    """Django writes the path of a failed or forged request into its message; what is logged is the route."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        if request is not None and isinstance(record.args, tuple):
            paths = {request.path, request.path_info, request.get_full_path()}
            record.args = tuple(route_of(request) if value in paths else value for value in record.args)
        return True


def _logging(level: str, renderer: Processor, shared: list[Processor]) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
                "foreign_pre_chain": shared,
            }
        },
        "filters": {"route": {"()": RouteForPath}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["route"]}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django.request": {"level": "ERROR"},  # one line per request comes from RequestLog
            "django.security.csrf": {"level": "ERROR"},  # names the path, which may hold an invitation's token
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django_q": {"level": "WARNING"},
            "_granian": {"level": "WARNING"},
        },
    }
