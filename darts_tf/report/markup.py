"""HTML as values: anything that is not marked as HTML is text and gets escaped."""

import html

VOID = {"meta", "img", "br"}


class Html(str):
    """A string that is already HTML."""


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Returns an element.

    Args:
        name: Name of the element.
        *children: `Html`, or anything else as text; None is left out.
        **attributes: Attributes by name; `_` stands for `-`, a final `_` for nothing (`class_`); True is an attribute
            without a value; None and False are left out.
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
    """Concatenates pieces of HTML; text is escaped, None left out."""
    return Html("".join(c if isinstance(c, Html) else html.escape(str(c)) for c in children if c is not None))
