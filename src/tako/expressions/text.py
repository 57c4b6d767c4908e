"""Texts that may hold templates, which load the reader of templates only if they hold one.

Most texts of a tako.yml hold none, and loading Jinja2's tokenizer and what stands behind it costs
more than starting a step.
"""

from __future__ import annotations

from collections.abc import Mapping

_OPENING = "{{"


def has_template(text: str) -> bool:
    """Return whether there is anything to render."""
    return _OPENING in text


def render(text: str, scope: Mapping[str, object]) -> str:
    """Render `text`; a text without `{{` is returned unchanged. Raises `ExpressionError`."""
    if _OPENING not in text:
        return text
    from tako.expressions.templates import render as render_template

    return render_template(text, scope)


def rendered_all(texts: Mapping[str, str], scope: Mapping[str, object]) -> dict[str, str]:
    """Render each value of a mapping. Raises `ExpressionError`."""
    return {name: render(text, scope) for name, text in texts.items()}
