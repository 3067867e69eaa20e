"""Reads the two written forms of a genotype, JSON and the text form of papers and logs, into plain fields.

Nothing is evaluated: the text form is walked as a syntax tree in which only names of fields, lists, tuples, numbers,
strings and `range` are understood. The input may come from anywhere, so its size and its nesting are bounded.
"""

import ast
import json
import re
import reprlib
import warnings

from darts_tf.errors import UserError

MAX_CHARS = 20_000  # the longest published genotype has about 700
MAX_NESTING = 8  # a genotype needs 3
MAX_NODES = 1_000  # bound of the numbers in a range
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_FORM = "expected Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=..., reduce_concat=...)"


def show(value):
    """`value` as it is quoted in an error message: one line, shortened."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python does not print integers beyond 4300 digits
        return f"a huge {type(value).__name__}"


def read(text):
    """Reads JSON (`{"normal": [["sep_conv_3x3", 1], ...], ...}`) or the text form (`Genotype(normal=[...], ...)`).

    Args:
        text: A string. `NAME = Genotype(...)`, as in the original's `genotypes.py`, is understood as well.

    Returns:
        The fields as a dictionary of lists, strings, numbers and ranges. What they mean is not checked here.

    Raises:
        UserError: The text has neither form, is too long or nested too deeply, or names a field twice.
    """
    if not isinstance(text, str):
        raise UserError(f"a genotype's text must be a string. Received: {show(text)}")
    if len(text) > MAX_CHARS:
        raise UserError(f"a genotype's text has at most {MAX_CHARS} characters. Received: {len(text)} characters")
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise UserError(f"the genotype's text is empty; {_FORM}")
    return _read_json(text) if text[0] in "{[" else _read_call(text)


def _read_json(text):
    try:
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError:
        raise UserError("the genotype's JSON is nested too deeply; expected lists of [operation, input]") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"the genotype is not valid JSON: {error}. Received: {show(text)}") from None
    if not isinstance(fields, dict):
        raise UserError(f"a genotype in JSON is an object with named fields. Received: {show(fields)}")
    return fields


def _unique(items):
    fields = dict(items)
    if len(fields) < len(items):
        keys = [key for key, _ in items]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"the genotype's JSON has the key {show(twice)} twice; keep one of them")
    return fields


def _constant(name):
    raise UserError(f"the genotype's JSON holds a number that is not finite; inputs are integers. Received: {name}")


def _read_call(text):
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    signs = re.search(r"(?:[-+~]\s*){100}", text)  # an operation's name may have some, but is shorter
    if deepest > MAX_NESTING or signs:  # deep trees can exhaust the parser's stack
        raise UserError(f"the genotype's text is nested too deeply; {_FORM}. Received: {show(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python merely frowns upon is no genotype either
            body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning) as error:
        reason = f"{error.msg}, line {error.lineno}" if isinstance(error, SyntaxError) else "it cannot be parsed"
        raise UserError(f"the genotype's text is not well-formed ({reason}); {_FORM}. Received: {show(text)}") from None
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr | ast.Assign) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise UserError(f"the text is not one genotype; {_FORM}. Received: {show(text)}")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise UserError(f"every field of a genotype is given by name; {_FORM}. Received: {show(text)}")
    fields = {}
    for keyword in call.keywords:
        if keyword.arg in fields:
            raise UserError(f"the genotype's text has the field {show(keyword.arg)} twice; keep one of them")
        fields[keyword.arg] = _value(keyword.value, keyword.arg[:40])
    return fields


def _value(node, field):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item, field) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        if type(node.operand.value) in (int, float):
            return -node.operand.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
        bounds = [_value(item, field) for item in node.args]
        whole = all(type(bound) is int and abs(bound) <= MAX_NODES for bound in bounds)
        if whole and 1 <= len(bounds) <= 3 and bounds[2:] != [0]:
            return list(range(*bounds))
        raise UserError(f"{field}: range takes 1 to 3 integers up to {MAX_NODES}. Received: range{show(tuple(bounds))}")
    raise UserError(
        f"{field}: expected a list of ('operation', input) pairs, a list of integers, or a range. "
        f"Received: a {type(node).__name__} expression in column {node.col_offset + 1}"
    )
