"""How config values may be written: the rules that every step kind shares.

Hosts evaluate expressions before we see a value, so types arrive bent: ``timeout`` as 120, 120.0 or "120",
``ref: ${{ '1.10' }}`` as the number 1.1 (facts: stock-kargo, "Types that arrive"). What cannot have lost
anything is accepted; what may have is refused with the advice to write ``quote()``.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from gha_step.contract.errors import ConfigError
from gha_step.contract.json_text import compact_json, parse_json
from gha_step.contract.quoting import quoted

MAX_INPUTS: Final = 25  # github.com and GHES >= 3.20; GHES <= 3.19 takes 10 (facts: github-dispatch)
MAX_KEYS: Final = 100  # of a config, and of a mapping in it
MAX_PROBLEMS: Final = 20  # that are told of one config
MAX_INPUTS_CHARACTERS: Final = 65_535  # the whole inputs object as JSON (GitHub's documentation)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_NOT_IN_SEGMENTS: Final = re.compile(r"[/?#%\\]")
EXACT_FLOAT: Final = 2**53  # beyond it a double no longer tells neighbouring integers apart


def refusal(text: str) -> PydanticCustomError:
    """What a validator raises, in these words."""
    # The text is no template: a brace in it must stay a brace.
    return PydanticCustomError("refused", "{text}", {"text": text})


def _kind(value: object) -> str:
    """The JSON name of a value's type, with the article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case dict():
            return "an object"
        case _:
            return "a list"


def encodable(text: str) -> str:
    """``text``, if it can be written anywhere at all.

    :raises PydanticCustomError: a ValueError; it holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refusal("contains half of a surrogate pair, which is not a character") from None
    return text


def _string(value: object) -> str:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, bool | int | float):
        raise refusal(
            f"{quoted(value)} is {_kind(value)}, not a string; write ${{{{ quote(...) }}}} around the expression, "
            "or quote the value in YAML (an unquoted 1.10 arrives as 1.1)"
        )
    raise refusal(f"must be a string, but is {_kind(value)}")


def as_text(value: object) -> str:
    """A string with something in it. :raises PydanticCustomError: a ValueError; it is none."""
    text = value if isinstance(value, str) and value.isascii() else _string(value)
    if not text.strip():
        raise refusal("must not be empty")
    if control := _CONTROL.search(text):
        raise refusal(f"{quoted(text)} contains the control character U+{ord(control[0]):04X}; remove it")
    return text


def as_trimmed(value: object) -> str:
    """A name without white space at its ends, which no message would show. :raises PydanticCustomError: it is none."""
    text = as_text(value)
    if text != text.strip():
        raise refusal(f"{quoted(text)} begins or ends with white space; remove it")
    return text


def as_segment(value: object) -> str:
    """A name that is one segment of GitHub's URLs. :raises PydanticCustomError: a ValueError; it is none."""
    text = as_trimmed(value)
    if text in (".", ".."):
        raise refusal(f"{text!r} is not a name")
    if bad := _NOT_IN_SEGMENTS.search(text):
        raise refusal(f"{quoted(text)} contains {bad[0]!r}; write the bare name, not a path or URL")
    return text


def whole_number(least: int, most: int, unit: str) -> Callable[[object], int]:
    """Reads an integer, written 120, 120.0 or "120", from ``least`` to ``most``."""

    def read(value: object) -> int:
        number = _integer(value, unit)
        if number < least:
            raise refusal(f"{quoted(number)} is too small; the range is {least} to {most} {unit}")
        if number > most:
            raise refusal(f"{quoted(number)} is too large; the maximum is {most} {unit}")
        return number

    return read


def _integer(value: object, unit: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_FLOAT:
        return int(value)
    if isinstance(value, str):
        digits = value.strip()
        if digits.removeprefix("-").isascii() and digits.removeprefix("-").isdigit() and len(digits) <= 20:
            return int(digits)
    raise refusal(f'{quoted(value)} is not a whole number of {unit}; write one such as 120 or "120"')


def as_switch(value: object) -> bool:
    """A boolean, written true or "true". :raises PydanticCustomError: a ValueError; it is none."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise refusal(f"must be true or false, but is {quoted(value)}")


def _input_text(name: str, value: object) -> str | None:
    """One workflow input as GitHub is to receive it: text, or ``None`` to leave it out."""
    match value:
        case None:
            return None
        case str():
            return value if value.isascii() else encodable(value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if value.is_integer() and abs(value) <= EXACT_FLOAT:
            return str(int(value))
        case float():
            raise refusal(
                f"input {name!r} is a number with a fraction or exponent, so its spelling may be lost "
                "(a tag 1.10 arrives as 1.1); write ${{ quote(...) }} around the expression"
            )
        case _:
            try:
                return encodable(compact_json(value))
            except ValueError as error:
                raise refusal(f"input {name!r}: {error}") from None


def _inputs(value: object) -> dict[str, str]:
    if isinstance(value, str):
        if not value.strip():
            return {}
        try:
            value = parse_json(value, unique=True)
        except ValueError as error:
            raise refusal(f"is text, but not a JSON object: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refusal(f"must be an object, or text with a JSON object, but is {_kind(value)}")
    texts = {as_text(name): _input_text(name, given) for name, given in value.items()}
    inputs = {name: text for name, text in texts.items() if text is not None}
    check_input_names(inputs)
    check_inputs_size(inputs)
    return inputs


def check_input_names(names: Iterable[str]) -> None:
    """Refuse two names that are one to a workflow. :raises PydanticCustomError: a ValueError that names both."""
    first_of: dict[str, str] = {}
    for name in names:
        if (other := first_of.setdefault(name.lower(), name)) != name:
            raise refusal(
                f"{other!r} and {name!r} are the same input, because workflows ignore case; leave one of them out"
            )


def check_inputs_size(inputs: dict[str, str]) -> None:
    """Refuse more inputs than any GitHub takes: 25 of them, 65,535 characters as JSON in all.

    :raises PydanticCustomError: a ValueError that says what is too much.
    """
    if len(inputs) > MAX_INPUTS:
        raise refusal(f"has {len(inputs)} inputs, but GitHub takes at most {MAX_INPUTS}")
    if (size := len(compact_json(inputs))) > MAX_INPUTS_CHARACTERS:
        raise refusal(f"has {size} characters as JSON, but GitHub takes at most {MAX_INPUTS_CHARACTERS}")


Text = Annotated[str, BeforeValidator(as_text, json_schema_input_type=str)]
"""A string with something in it; never a number or boolean."""

Trimmed = Annotated[str, BeforeValidator(as_trimmed, json_schema_input_type=str)]
"""Text without white space at its ends."""

PathSegment = Annotated[str, BeforeValidator(as_segment, json_schema_input_type=str)]
"""A name that is one segment of GitHub's URLs: no ``/ ? # %``, no control character, not ``.`` or ``..``."""

Switch = Annotated[bool, BeforeValidator(as_switch, json_schema_input_type=bool)]
"""A boolean, written true or "true"."""

WorkflowInputs = Annotated[dict[str, str], BeforeValidator(_inputs, json_schema_input_type=dict[str, Any] | str)]
"""Workflow inputs as GitHub receives them: every value a string."""


REQUIRED: Final = "is required"
MEANT: Final = "did you mean "
Problem = tuple[tuple[int | str, ...], str]
"""What is wrong with a config: where, by its keys, and in words."""


def _crowded(config: Mapping[str, Any]) -> Problem | None:
    """The mapping with too many keys: each unknown key would be a problem, with words of its own."""
    if len(config) > MAX_KEYS:
        return (), f"has {len(config)} keys; the maximum is {MAX_KEYS}"
    for name, given in config.items():
        if isinstance(given, dict) and len(given) > MAX_KEYS:
            return (name,), f"has {len(given)} keys; the maximum is {MAX_KEYS}"
    return None


class ConfigModel(BaseModel):
    """The base of every config: frozen, read by the wire's names, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_alias=True, hide_input_in_errors=True, defer_build=True
    )
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """What people write here that belongs elsewhere, and what to do."""

    @classmethod
    def parse(cls, config: dict[str, Any]) -> Self:
        """The config of one step.

        :raises ConfigError: with every problem in one message, each with its field.
        """
        parsed, problems = cls.judge(config)
        if parsed is None:
            told = [f"{_path(location)}: {words}" for location, words in problems[:MAX_PROBLEMS]]
            more = len(problems) - len(told)
            raise ConfigError("; ".join([*told, f"and {more} more"] if more else told))
        return parsed

    @classmethod
    def judge(cls, config: Mapping[str, Any]) -> tuple[Self | None, list[Problem]]:
        """The config, or all that is wrong with it."""
        if crowded := _crowded(config):
            return None, [crowded]
        problems: list[Problem] = []
        parsed: Self | None = None
        try:
            parsed = cls.model_validate(config)
        except ValidationError as error:
            problems = [
                (problem["loc"], _words(cls, problem))
                for problem in error.errors(include_url=False, include_input=False)
            ]
        for mismatch in cls.mismatches(config):
            field, _, words = mismatch.partition(": ")
            problems.append((tuple(field.split(".")[1:]), words))
        return (None, _told_once(problems)) if problems else (parsed, [])

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of what :meth:`parse` takes, as a template would write it."""
        from pydantic.json_schema import GenerateJsonSchema  # only who lists the kinds needs it

        class Plain(GenerateJsonSchema):
            def field_title_should_be_set(self, schema: Any) -> bool:
                return False

            def default_schema(self, schema: Any) -> dict[str, Any]:
                made = super().default_schema(schema)
                return {name: value for name, value in made.items() if (name, value) != ("default", None)}

        schema = cls.model_json_schema(by_alias=True, schema_generator=Plain)
        return {"$schema": Plain.schema_dialect, **schema}

    @classmethod
    def mismatches(cls, config: Mapping[str, Any]) -> list[str]:
        """What is wrong with ``config`` although each of its keys may be right: keys that need or exclude others.

        It reads the keys, not what they were parsed to, so these problems appear together with all others.
        """
        del config
        return []


def _told_once(problems: list[Problem]) -> list[Problem]:
    """Without the fields that are missing because their names are misspelt: one typo is one problem."""
    meant = {(*where[:-1], words.rpartition(MEANT)[2].rstrip("?")) for where, words in problems if MEANT in words}
    return [(where, words) for where, words in problems if words != REQUIRED or where not in meant]


def _path(location: tuple[int | str, ...]) -> str:
    # A key is the user's: it may be long or hold anything, and ends up in a log line.
    return ".".join(["config", *(ascii(str(part)[:60])[1:-1] for part in location)])


def _words(model: type[ConfigModel], problem: ErrorDetails) -> str:
    match problem["type"]:
        case "missing":
            return REQUIRED
        case "extra_forbidden" if (name := ".".join(map(str, problem["loc"]))) in model.elsewhere:
            return model.elsewhere[name]
        case "extra_forbidden":
            return "is not a field of this step" + _nearest(model, problem["loc"])
        case "model_type" | "model_attributes_type":
            return "must be an object"
        case _:
            return problem["msg"]


def _nearest(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    from difflib import get_close_matches  # only a typo needs it

    for part in location[:-1]:
        annotation = next(field.annotation for field in model.model_fields.values() if field.alias == part)
        model = next(
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    known = wire_names(model)
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(str(location[-1]).lower(), by_lower, n=1)
    return f"; {MEANT}{by_lower[close[0]]}?" if close else f"; the fields are {', '.join(known)}"


def wire_names(model: type[BaseModel]) -> list[str]:
    """The keys that ``model`` reads from the wire, in order."""
    return [field.alias or name for name, field in model.model_fields.items()]
