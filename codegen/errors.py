"""The one exception whose text a user reads."""

from __future__ import annotations


class ThumbnetError(Exception):
    """Something the user can act on: says what was wrong, where, and what to do about it."""
