"""The log's form, and the filter that keeps secrets out of it.

Every process logs through here (`LOGGING_CONFIG`): one line per event, JSON in production. Text, fields and tracebacks
pass `scrub` last, whoever wrote them.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "…"
# A field of one of these names is never shown, whatever it holds.
SECRET_FIELDS = re.compile(
    r"authorization|cookie|password|passwd|secret|api[-_]?key|private[-_]?key|credential|sessionid|csrf", re.IGNORECASE
)
SECRET_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bsk-tokia-[0-9A-Za-z]+"), f"sk-tokia-{MASK}"),
    # OpenAI, Anthropic, DeepSeek, OpenRouter · Groq · Google · Stripe-like
    (re.compile(r"\b(sk|rk|pk)[-_][0-9A-Za-z_-]{16,}"), rf"\1-{MASK}"),
    (re.compile(r"\bgsk_[0-9A-Za-z]{16,}"), f"gsk_{MASK}"),
    (re.compile(r"\bwhsec_[0-9A-Za-z+/=_-]{16,}"), f"whsec_{MASK}"),  # of webhooks, Stripe's to us and ours to customers
    (re.compile(r"\bAIza[0-9A-Za-z_-]{20,}"), f"AIza{MASK}"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s'\",;]+", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(
            r"(?P<name>[\w-]*(?:x-api-key|api[-_]key|authorization|password|client_secret|secret|cookie)[\"']?\s*[:=]\s*[\"']?)"
            r"(?!Bearer|Basic)[^\s'\",;&}]+",
            re.IGNORECASE,
        ),
        rf"\g<name>{MASK}",
    ),
    (re.compile(r"(?P<scheme>\b[a-z][a-z0-9+]*://[^\s/:@]*:)[^\s/@]+@", re.IGNORECASE), rf"\g<scheme>{MASK}@"),
    (re.compile(r"(/webhooks/pix/)[^\s/?\"']+"), rf"\1{MASK}"),  # the bank's door has its secret in the path
)
# Loggers whose INFO is a line per call or per tick, or that repeat what another one says.
QUIET = ("httpx", "httpcore", "celery.beat", "celery.worker.strategy", "celery.app.trace", "kombu", "amqp", "asyncio")
# Servers that bring handlers of their own.
TAMED = ("uvicorn", "uvicorn.error", "uvicorn.access", "gunicorn.error", "gunicorn.access", "django", "django.server")


def configure(settings: Mapping[str, Any]) -> None:
    """Django's LOGGING_CONFIG: `settings` is LOGGING, {"level": "INFO", "json": False}."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
    ]
    if settings["json"]:
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    renderer: Processor = structlog.processors.JSONRenderer(ensure_ascii=False) if settings["json"] else render_line
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            scrub_event,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings["level"])
    for name in TAMED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("django.request").setLevel(logging.ERROR)  # a 404 or 403 is the visitor's, not ours
    logging.captureWarnings(True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def scrub(text: str) -> str:
    """The same text without keys, passwords and credentials."""
    for pattern, replacement in SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def scrub_event(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {name: _scrub_field(name, content) for name, content in event.items()}


def _scrub_field(name: str, content: Any) -> Any:
    if SECRET_FIELDS.search(name):
        return MASK
    if isinstance(content, str):
        return scrub(content)
    if isinstance(content, Mapping):
        return {str(key): _scrub_field(str(key), inner) for key, inner in content.items()}
    if isinstance(content, list | tuple | set):
        return [_scrub_field("", inner) for inner in content]
    if content is None or isinstance(content, bool | int | float):
        return content
    return scrub(repr(content))


def render_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """`warning billing.tasks: the sentence  name=value`, for people; the supervisor adds the time and the process."""
    level, name, text = event.pop("level", ""), event.pop("logger", ""), event.pop("event", "")
    trace = event.pop("exception", "")
    fields = "".join(f"  {key}={value}" for key, value in event.items())
    line = f"{level:<7} {name}: {text}{fields}"
    return f"{line}\n{trace}" if trace else line
