"""Users' values as text, whatever their `__str__` does.

An object of a closed database session, or a translation that is looked up late, may
raise when it is written. A run that has to say why it stopped must not stop on that.
"""

from __future__ import annotations

__all__ = ["said", "said_of_error"]


def said(value: object) -> str:
    """Return ``str(value)``; or, where that raises, what it is."""
    try:
        return str(value)
    except Exception as error:
        kind = type(value).__name__
        return f"<{kind} whose str() raises {type(error).__name__}>"


def said_of_error(error: object) -> str:
    """Return *error* as people read it: ``ValueError: boom``, or its text."""
    if isinstance(error, BaseException):
        text = said(error)
        name = type(error).__name__
        return f"{name}: {text}" if text else name
    return said(error)
