"""HTML out of function calls: text is escaped unless it was made here, so no name can become markup."""

from __future__ import annotations

from html import escape

_VOID = ("meta", "img", "br", "hr", "input")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """``element("p", "a < b", cls="note")`` is ``<p class="note">a &lt; b</p>``.

    Args:
        tag: the element's name.
        children: markup, or text to escape; None is left out.
        attributes: ``cls`` stands for ``class``, and underscores for hyphens. True is an attribute without a
            value; None and False are left out.
    """
    opened = Html(f"<{tag}{''.join(_attribute(key, value) for key, value in attributes.items())}>")
    return opened if tag in _VOID else Html(f"{opened}{join(*children)}</{tag}>")


def join(*children: str | None) -> Html:
    """Markup and text one after the other."""
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in children if c is not None))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = "class" if key == "cls" else key.replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
