"""What a template's variables are worth, as far as its file says. Pure.

Kargo evaluates expressions when a Promotion runs. Of `${{ vars.NAME }}` the file may hold the value, and of
`${{ ctx.stage }}` and `${{ ctx.project }}` the object's own name and namespace; all others stay as they are. Source:
https://docs.kargo.io/user-guide/reference-docs/expressions
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from gha_step.inbound.shell.yaml_lines import Path

EXPRESSION: Final = "${{"
LONGEST: Final = 100_000  # characters that are put in the place of expressions; GitHub takes 65,535 of inputs
_NAME: Final = re.compile(r"\$\{\{\s*((?:vars|ctx)\.[A-Za-z_][\w-]*)\s*\}\}")
# Where each kind of Kargo's objects has its variables; the later ones win.
_DECLARED: Final[dict[str, tuple[Path, ...]]] = {
    "Promotion": (("spec", "vars"),),
    "PromotionTask": (("spec", "vars"),),
    "ClusterPromotionTask": (("spec", "vars"),),
    "Stage": (("spec", "vars"), ("spec", "promotionTemplate", "spec", "vars")),
}

Known = Mapping[str, str]
"""Values by name, e.g. ``vars.ref``; parts of them may be expressions still."""


def of_object(value: Any) -> Known:
    """What an object says of its variables, and of itself."""
    if not isinstance(value, dict) or value.get("kind") not in _DECLARED:
        return {}
    stage = at(value, ("spec", "stage")) if value["kind"] == "Promotion" else at(value, ("metadata", "name"))
    context = {"ctx.project": at(value, ("metadata", "namespace"))}
    if value["kind"] in ("Promotion", "Stage"):
        context["ctx.stage"] = stage
    known: Known = {name: text for name, text in context.items() if isinstance(text, str)}
    for path in _DECLARED[value["kind"]]:
        known = declared(at(value, path), known)
    return known


def declared(variables: Any, known: Known) -> Known:
    """``known``, and after it what a list of variables says. One without a value gets it from whoever calls."""
    found = dict(known)
    for variable in variables if isinstance(variables, list) else ():
        name, value = (variable.get("name"), variable.get("value")) if isinstance(variable, dict) else (None, None)
        if isinstance(name, str) and value not in (None, ""):
            found[f"vars.{name}"] = str(filled(value, found))
    return found


def passed(variables: Any, caller: Known, task: Known) -> Known:
    """What a task's variables are worth, where a step of somebody who knows ``caller`` passes these to it."""
    named = declared(variables, {})
    return {**caller, **task, **{name: value for name, value in declared(variables, caller).items() if name in named}}


def filled(value: Any, known: Known) -> Any:
    """``value`` with what is known in the place of its expressions, as text; unless it would be more than `LONGEST`."""
    match value:
        case dict():
            return {key: filled(inner, known) for key, inner in value.items()}
        case list():
            return [filled(inner, known) for inner in value]
        case str() if EXPRESSION in value:
            grown = sum(len(known.get(name, "")) for name in _NAME.findall(value))
            return value if grown > LONGEST else _NAME.sub(lambda found: known.get(found[1], found[0]), value)
        case _:
            return value


def is_open(value: Any) -> TypeGuard[str]:
    """Whether it contains an expression, which only Kargo evaluates."""
    return isinstance(value, str) and EXPRESSION in value


def at(value: Any, path: Path) -> Any:
    """What stands there; ``None``: nothing."""
    for part in path:
        value = value[part] if isinstance(part, int) else value.get(part) if isinstance(value, dict) else None
    return value
