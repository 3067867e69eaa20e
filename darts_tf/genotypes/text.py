"""Reads the written forms of a genotype, JSON and the text form of papers and logs, into plain fields.

Nothing is evaluated: the text form is parsed to a syntax tree in which only field names, lists, tuples, numbers,
strings and `range` are accepted. The input is untrusted, so its size and nesting are bounded.
"""

import ast
import json
import re
import reprlib
import warnings
from typing import Any

from darts_tf.system.errors import UserError, some_of

MAX_CHARS = 20_000  # the longest published genotype has about 700
MAX_NESTING = 8  # a genotype needs 3
MAX_NODES = 1_000  # bound of the numbers in a range
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat", "recurrent", "concat")
_CALL = r"[\w.]*Genotype\s*\("  # `Genotype(`, `gt.Genotype(` ...
_NASBENCH201 = re.compile(r"\|\w+~\d\|[\w~|+]*")
_FORM = "expected Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=..., reduce_concat=...)"


def show(value: object) -> str:
    """Returns `value` as an error message quotes it: one line, shortened."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python does not print integers of more than 4300 digits
        return f"a huge {type(value).__name__}"


def read(text: str) -> Any:
    """Reads JSON (`{"normal": [["sep_conv_3x3", 1], ...], ...}`) or the text form (`Genotype(normal=[...], ...)`).

    Args:
        text: A string. The text form may be part of a log line or of a Python file, as `NAME = Genotype(...)` or among
            other statements, as long as there is one genotype; its fields may come without `Genotype(...)`, or as a
            dictionary as Python prints it. The same holds for the string of a NAS-Bench-201 cell, such as
            `|none~0|+|none~0|none~1|+|none~0|none~1|none~2|`.

    Returns:
        The fields: a dictionary of lists, strings, numbers and ranges, or a list. Their meaning is not checked here.

    Raises:
        UserError: The text has neither form, is too long or nested too deeply, names a field twice, or holds several
            genotypes, or one of another search space.
    """
    if not isinstance(text, str):
        raise UserError(f"a genotype's text must be a string. Received: {show(text)}")
    if len(text) > MAX_CHARS:
        raise UserError(
            f"a genotype's text must have at most {MAX_CHARS} characters. Received: {len(text)} characters; from a "
            "log, keep only the genotype's line"
        )
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise UserError(f"the genotype's text is empty; {_FORM}")
    if text[0] != "{" and (strings := set(_NASBENCH201.findall(text))):
        if len(strings) > 1:
            raise UserError(
                f"the text is not one genotype but {len(strings)} strings of NAS-Bench-201; keep one. "
                f"Received: {show(text)}"
            )
        return {"nasbench201": strings.pop()}
    if text[0] in "{[":
        return _read_json(text)
    if re.match(rf"\(?\s*({'|'.join(_FIELDS)})\s*=[^=]", text) and (fields := _read_bare(text)):
        return fields
    return _read_call(text)


def _read_json(text):
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_constant)
    except RecursionError:
        raise UserError("the genotype's JSON is nested too deeply; expected lists of [operation, input]") from None
    except UserError:
        raise
    except ValueError as error:
        if re.search(_CALL, text):  # a log line that begins with its time in brackets
            return _read_call(text)
        try:
            (statement,) = _parsed(text).body
        except ValueError:
            raise UserError(f"the genotype is not valid JSON: {error}. Received: {show(text)}") from None
        return _value(getattr(statement, "value", statement), "genotype")  # a dictionary as Python prints it


def _unique(items, where="text has the field"):
    fields = {}
    for name, value in items:
        if name in fields:
            raise UserError(f"the genotype's {where} {show(name)} twice; keep one of them")
        fields[name] = value
    return fields


def _unique_keys(items):
    return _unique(items, "JSON has the key")


def _constant(name):
    raise UserError(f"the genotype's JSON holds a number that is not finite; inputs are integers. Received: {name}")


def _read_bare(text):
    """The fields of `normal=[...], ...` without a name before them, on one line or as statements; None if absent."""
    try:
        return _fields(_parsed(f"Genotype{text}" if text[0] == "(" else f"Genotype({text})").body[0].value, text)
    except (UserError, IndexError, AttributeError):
        pass
    try:
        body = _parsed(text).body
    except UserError:
        return None
    named = [(node.targets[0].id, node.value) for node in body if _assigns_a_field(node)]
    return _unique([(name, _value(value, name)) for name, value in named]) if len(named) == len(body) else None


def _assigns_a_field(node):
    return isinstance(node, ast.Assign) and len(node.targets) == 1 and getattr(node.targets[0], "id", "") in _FIELDS


def _read_call(text):
    try:
        tree = _parsed(text)
        found, assigned = _genotypes(tree), [node for node in tree.body if isinstance(node, ast.Assign)]
        names = [ast.unparse(node.targets[0]) for node in assigned if _genotypes(node.value)]
    except UserError:
        # Log lines are not Python; what looks like a genotype in them may be.
        parts = [_call_at(text, match.start()) for match in re.finditer(_CALL, text)]
        if not parts:
            raise
        found, names = [node for part in parts for node in _genotypes(_parsed(part, text))], []
    if len(found) != 1:
        many = f" but {len(found)}{f' ({some_of(names)})' if names else ''}; keep the lines of one" if found else ""
        raise UserError(f"the text is not one genotype{many}; {_FORM}. Received: {show(text)}")
    return _fields(found[0], text) if isinstance(found[0], ast.Call) else _value(found[0], "genotype")


def _parsed(text, whole=None):
    """The syntax tree of a text, which is a part of the whole text that messages show."""
    received = show(text if whole is None else whole)
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    signs = re.search(r"(?:[-+~]\s*){100}", text)  # an operation's name may contain signs, but is shorter
    if deepest > MAX_NESTING or signs:  # deep trees can exhaust the parser's stack
        raise UserError(f"the genotype's text is nested too deeply; {_FORM}. Received: {received}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns about is not a genotype either
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning) as error:
        reason = f"{error.msg}, line {error.lineno}" if isinstance(error, SyntaxError) else "it cannot be parsed"
        raise UserError(f"the genotype's text is not well-formed ({reason}); {_FORM}. Received: {received}") from None


def _genotypes(tree):
    """The genotypes in a syntax tree: calls of `Genotype`, texts of such calls, dictionaries with a cell's fields."""
    found: list[ast.Call | ast.Dict] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func).endswith("Genotype"):
            found.append(node)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.match(rf"\s*(\w+\s*=\s*)?{_CALL}", node.value)
        ):
            found += _genotypes(_parsed(node.value))
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if keys & {"normal", "recurrent", "normal/op_2_0", "normal_n2_p0"}:
                found.append(node)
    return found


def _call_at(text, start):
    """The part of a text from a call's name to its closing bracket, or to the end if there is none."""
    depth = 0
    for index in range(text.index("(", start), len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if not depth:
            return text[start : index + 1]
    return text[start:]


def _name(function):
    """The last part of a called name: `int64` of `np.int64`."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _fields(call, text):
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise UserError(f"every field of a genotype must be given by name; {_FORM}. Received: {show(text)}")
    return _unique([(keyword.arg, _value(keyword.value, keyword.arg[:40])) for keyword in call.keywords])


_NUMBERS = re.compile(r"u?int\d*|intp|float\d*|str_|tensor|array")  # what NumPy and PyTorch print around a value


def _value(node, field):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item, field) for item in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        return _unique([(key, _value(value, str(key)[:40])) for key, value in zip(keys, node.values, strict=True)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        if isinstance(number := node.operand.value, int | float) and not isinstance(number, bool):
            return -number
    if isinstance(node, ast.Call) and len(node.args) == 1 and _NUMBERS.fullmatch(_name(node.func)):
        if all(keyword.arg in ("dtype", "device") for keyword in node.keywords):
            return _value(node.args[0], field)
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
