"""Chat completions for an upstream that speaks Anthropic's Messages API (ADR-0036).

Laws of this room:
- Requests go one way and answers the other, both in OpenAI's form on our side; answers then pass `completion` or
  `ChatStream` as anybody else's do.
- What the other side has no word for is refused by name where it decides what kind of answer is wanted, and left out
  by name where it only tunes it.
"""

from dragoman.translate.anthropic.reply import MessageStream, chat_completion
from dragoman.translate.anthropic.request import DEFAULT_MAX_TOKENS, messages_request

__all__ = ["DEFAULT_MAX_TOKENS", "MessageStream", "chat_completion", "messages_request"]
