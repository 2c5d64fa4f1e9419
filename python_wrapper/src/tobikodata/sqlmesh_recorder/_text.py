"""Long texts: logs hold SQL and traces of any length."""

from __future__ import annotations

LOG_CHARACTERS = 64 * 1024
MESSAGE_CHARACTERS = 16 * 1024


def cut(text: str, limit: int) -> str:
    """Cuts a long text in the middle: its beginning says what it is, its end what went wrong."""
    half = limit // 2
    if len(text) <= limit:
        return text
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
