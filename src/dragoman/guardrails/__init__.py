"""What may not pass in a prompt or an answer: detectors as data, verdicts, and the window that streams are held in.

Laws of this room:
- Nothing here reads a clock, a socket or the environment; only asking a webhook awaits, and who asks is passed in.
- No text that was looked at is kept in a verdict, an error or anything that prints.
- Patterns are those of RE2, which takes linear time; Python's own are not used.
"""

from dragoman.guardrails.check import check
from dragoman.guardrails.document import Screened, screen_input, screen_output
from dragoman.guardrails.screen import BadGuardrailError, Screen, build_screen
from dragoman.guardrails.screens import Screens
from dragoman.guardrails.stream import StreamScreen
from dragoman.guardrails.verdict import Blocked, Verdict
from dragoman.guardrails.webhook import Webhook, WebhookUnavailableError, ask_webhooks, end_stream
from dragoman.guardrails.window import Look, Window, look

__all__ = [
    "BadGuardrailError",
    "Blocked",
    "Look",
    "Screen",
    "Screened",
    "Screens",
    "StreamScreen",
    "Verdict",
    "Webhook",
    "WebhookUnavailableError",
    "Window",
    "ask_webhooks",
    "build_screen",
    "check",
    "end_stream",
    "look",
    "screen_input",
    "screen_output",
]
