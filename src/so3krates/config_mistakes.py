"""What is wrong with a configuration, in sentences: the complaints of pydantic under the keys that the user wrote."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

MOST_LISTED = 12
"""Keys of a section that are listed at most where one is unknown and none resembles it."""
LONGEST = 80
"""Characters of a received value that are shown at most."""

_WRAPPED = re.compile(r"function-\w+\[.*, (\w+)\]")
"""How pydantic names a member of a union that has a validator of its own, and its plain name."""

Section = type[BaseModel]


@dataclass(frozen=True)
class _Mistake:
    """A complaint and where it is."""

    key: tuple[str, ...]
    """Without the names that pydantic gives to the members of unions."""
    unions: tuple[tuple[str, ...], ...]
    """Keys on the way whose value may be of several types."""
    holder: Section | None
    """The section that has the last key."""
    kinds: Mapping[str, Section]
    """Sections that could stand in place of the holder."""
    asked: Any
    """The type of the value."""
    error: Any

    @property
    def name(self) -> str:
        return ".".join(self.key)

    @property
    def mismatch(self) -> bool:
        """Whether the value is of another type altogether."""
        return self.error["type"].endswith(("_type", "_parsing"))

    @property
    def text(self) -> str:
        """What a validator says."""
        return self.error["msg"].removeprefix("Value error, ")

    @property
    def subject(self) -> tuple[str, ...]:
        """The key that it is about: often the first word of a validator is one, of its section or the value itself."""
        if self.error["type"] != "value_error":
            return self.key
        first, *inner = self.text.split(" ", 1)[0].rstrip(":").split(".")
        if _is_section(self.asked) and first in self.asked.model_fields:
            return (*self.key, first, *inner)
        return self.key


def told(kind: Section, complaints: Sequence[Any], source: str, options: Mapping[str, str]) -> str:
    """All mistakes in one line, each once.

    Args:
        kind: what was asked for.
        complaints: the errors of pydantic.
        source: of the values, such as a file; what an option gave is named by the option alone.
        options: key → option that gave it.
    """
    mistakes = list(_fitting([_placed(kind, error) for error in complaints]))
    meant = {_near(mistake) for mistake in mistakes}
    by_option, others = [], []
    for mistake in mistakes:
        # A key that was misspelt is not missing too.
        if not (mistake.error["type"] == "missing" and mistake.key in meant):
            option = _option(mistake, options)
            (others if option is None else by_option).append(_sentence(mistake, mistakes, option))
    parts = list(dict.fromkeys(by_option))
    if others:
        parts.append(f"{source}: {'; '.join(dict.fromkeys(others))}")
    return "; ".join(parts)


def _option(mistake: _Mistake, options: Mapping[str, str]) -> str | None:
    """The option that gave a value or the list that it is in."""
    key = mistake.subject
    whole = (".".join(key[:length]) for length in range(len(key), 0, -1))
    return next((options[name] for name in whole if name in options), None)


def _placed(kind: Section, error: Any) -> _Mistake:
    """Follow the types from key to key, since the path of pydantic also names members of unions."""
    node: Any = kind
    key: list[str] = []
    unions: list[tuple[str, ...]] = []
    holder: Section | None = None
    before: Mapping[str, Section] = {}
    kinds: Mapping[str, Section] = {}
    for part in error["loc"]:
        members = _members(node)
        if len(members) > 1:
            before = _kinds(members)
            if not before:
                unions.append(tuple(key))
            node = before.get(part) or next((each for each in members if _is_named(each, str(part))), None)
            continue
        (node,) = members
        key.append(str(part))
        if _is_section(node):
            holder, kinds = node, before
            node = node.model_fields[part].annotation if part in node.model_fields else None
        else:
            node = _element(node, part)
        before = {}
    return _Mistake(tuple(key), tuple(unions), holder, kinds, _only(node), error)


def _members(node: Any) -> list[Any]:
    """The types that a value may have; None is no choice."""
    while get_origin(node) is Annotated:
        node = get_args(node)[0]
    if get_origin(node) not in (Union, UnionType):
        return [node]
    return [member for each in get_args(node) if each is not NoneType for member in _members(each)]


def _only(node: Any) -> Any:
    """Without None, if there is one type beside it."""
    members = _members(node)
    return members[0] if len(members) == 1 else node


def _kinds(members: Sequence[Any]) -> dict[str, Section]:
    """Sections that are told from each other by `kind`."""
    found = {}
    for each in members:
        annotation = each.model_fields["kind"].annotation if _is_section(each) and "kind" in each.model_fields else None
        if get_origin(annotation) is Literal:
            found[get_args(annotation)[0]] = each
    return found if len(found) == len(members) else {}


def _is_section(node: Any) -> bool:
    return isinstance(node, type) and issubclass(node, BaseModel)


def _is_named(member: Any, tag: str) -> bool:
    """Whether pydantic calls it so."""
    if _is_section(member):
        return _WRAPPED.sub(r"\1", tag) == member.__name__
    origin = get_origin(member)
    return isinstance(origin, type) and tag.startswith(f"{origin.__name__}[")


def _element(node: Any, part: Any) -> Any:
    inside = get_args(node)
    if not inside or get_origin(node) is Literal:
        return None
    if get_origin(node) is tuple:
        return inside[part] if isinstance(part, int) and part < len(inside) and ... not in inside else inside[0]
    return inside[-1]


def _fitting(mistakes: Sequence[_Mistake]) -> Iterator[_Mistake]:
    """Without the complaints of types that a value was never meant to have, as a ramp is no number."""

    def fits(mistake: _Mistake, union: tuple[str, ...]) -> bool:
        return len(mistake.key) > len(union) or not mistake.mismatch

    meant = {union for mistake in mistakes for union in mistake.unions if fits(mistake, union)}
    above = {mistake.key[:length] for mistake in mistakes for length in range(len(mistake.key))}
    for mistake in mistakes:
        # A list is also said to be too short where what it has is wrong.
        if mistake.error["type"] == "too_short" and mistake.key in above:
            continue
        if all(fits(mistake, union) for union in mistake.unions if union in meant):
            yield mistake


def _sentence(mistake: _Mistake, all_of_them: Sequence[_Mistake], option: str | None) -> str:
    error, name = mistake.error, option or f"'{mistake.name}'"
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key '{mistake.name}'{_hint(mistake)}"
        case "missing":
            return f"key '{mistake.name}' is required"
        case "union_tag_invalid" | "union_tag_not_found":
            return _kind_sentence(mistake, option)
        case "value_error":
            # Of a value or of a whole section, whose validator says what it received.
            text, subject = mistake.text, ".".join(mistake.subject)
            word = ".".join(mistake.subject[len(mistake.key) :]) or ".".join(mistake.key[-1:])
            if word and text.startswith((f"{word} ", f"{word}:")):
                return f"{option or subject}{text.removeprefix(word)}"
            return f"{name}: {text}" if mistake.key else text
    wrong = error["msg"]
    if error["type"] == "too_short":
        wrong = f"Input should be a list of at least {error['ctx']['min_length']}"
    if mistake.mismatch:
        same = [each for each in all_of_them if each.key == mistake.key and each.mismatch]
        wrong = f"Input should be {' or '.join(dict.fromkeys(_type_in_words(each) for each in same))}"
    return f"{name}: {wrong}{_received(error)}" if mistake.key else f"{wrong}{_received(error)}"


def _received(error: Any) -> str:
    text = repr(error["input"])
    return f", received {text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'}"


def _kind_sentence(mistake: _Mistake, option: str | None) -> str:
    """Of a section that does not say which it is."""
    name = option or f"key '{'.'.join((*mistake.key, 'kind'))}'"
    given = mistake.error["ctx"].get("tag")
    said = "is required" if given is None else f"is '{given}'"
    return f"{name} {said}; it must be one of {', '.join(_kinds(_members(mistake.asked)))}"


def _type_in_words(mistake: _Mistake) -> str:
    match mistake.error["type"]:
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            fields = getattr(mistake.asked, "model_fields", {})
            return f"keys with values ({', '.join(fields)})" if 0 < len(fields) <= MOST_LISTED else "keys with values"
        case "tuple_type" | "list_type":
            return "a list"
    return mistake.error["msg"].removeprefix("Input should be ").split(",")[0]


def _hint(mistake: _Mistake) -> str:
    """What may be meant by an unknown key."""
    if mistake.holder is None:
        return ""
    if (near := _near(mistake)) is not None:
        return f" (did you mean '{near[-1]}'?)"
    others = [kind for kind, section in mistake.kinds.items() if mistake.key[-1] in section.model_fields]
    if others:
        own = next(kind for kind, section in mistake.kinds.items() if section is mistake.holder)
        *some, last = others
        return f" (it belongs to {', '.join(some)}{' and ' if some else ''}{last}, not to {own})"
    keys = list(mistake.holder.model_fields)
    return f" (the keys here are {', '.join(keys)})" if 0 < len(keys) <= MOST_LISTED else ""


def _near(mistake: _Mistake) -> tuple[str, ...] | None:
    """The key that an unknown one resembles, unless another kind of section has just that."""
    *above, last = mistake.key or ("",)
    if mistake.error["type"] != "extra_forbidden" or mistake.holder is None:
        return None
    if any(last in section.model_fields for section in mistake.kinds.values()):
        return None
    near = get_close_matches(last, mistake.holder.model_fields, n=1)
    return (*above, near[0]) if near else None
