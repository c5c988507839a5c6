"""Kargo's expressions, as far as the pages use them: names, fields, indices, and functions with one argument.

What an expression yields is text first; text that reads as JSON then becomes that value, unless it is quoted. Source:
https://docs.kargo.io/user-guide/reference-docs/expressions, and facts, stock-kargo, "Types that arrive".
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final

_EXPRESSION: Final = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
Names = Mapping[str, Any]


def quote(value: object) -> str:
    """Kargo's function: its result stays text."""
    return f'"{_text(value)}"'


def image_from(tag: str) -> Callable[[str], SimpleNamespace]:
    """``imageFrom`` of a Freight whose only image has this tag."""
    return lambda repository: SimpleNamespace(RepoURL=repository, Tag=tag)


def evaluated(value: Any, names: Names) -> Any:
    """``value`` with all expressions in it evaluated."""
    match value:
        case dict():
            return {key: evaluated(inner, names) for key, inner in value.items()}
        case list():
            return [evaluated(inner, names) for inner in value]
        case str() if _EXPRESSION.search(value):
            return _typed(_EXPRESSION.sub(lambda found: _text(_value(found[1].strip(), names)), value))
        case _:
            return value


def _value(expression: str, names: Names) -> Any:
    return _of(ast.parse(expression, mode="eval").body, names)


def _of(node: ast.expr, names: Names) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return names[name]
        case ast.Attribute(owner, name):
            found = _of(owner, names)
            return found[name] if isinstance(found, dict) else getattr(found, name)
        case ast.Subscript(owner, index):
            return _of(owner, names)[_of(index, names)]
        case ast.Call(function, [argument], []):
            return _of(function, names)(_of(argument, names))
    raise AssertionError(f"the pages' expressions do not hold this yet: {ast.dump(node)}")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _typed(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text
