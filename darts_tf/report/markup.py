"""HTML as values: whatever is not marked as such is text and gets escaped."""

import html

VOID = {"meta", "img", "br"}


class Html(str):
    """A string that is HTML already."""


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Returns an element.

    Args:
        name: Of the element.
        *children: `Html`, or anything else as text; None is left out.
        **attributes: By name; `_` stands for `-`, a last `_` for nothing (`class_`); True for an attribute without a
            value; None and False are left out.
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.removesuffix("_").replace("_", "-")
        written += f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
    start = f"<{name}{written}>"
    return Html(start) if name in VOID else Html(f"{start}{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Returns one piece of HTML after the other; text is escaped, None left out."""
    return Html("".join(c if isinstance(c, Html) else html.escape(str(c)) for c in children if c is not None))
