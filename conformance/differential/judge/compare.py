"""Compares two answers field by field, but for the differences that a file allows."""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Rule:
    pattern: re.Pattern
    kind: str
    argument: str
    reason: str
    used: int = 0


class Allowed:
    """The file of allowed differences. A line: PATH RULE [ARGUMENT] # REASON."""

    def __init__(self, path: Path):
        self.rules = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            facts, mark, reason = line.partition("#")
            where, kind, *argument = facts.split()
            if not mark or kind not in ("any", "shape", "order", "served"):
                raise ValueError(f"{path}:{number}: not a rule with its reason: {line}")
            self.rules.append(
                Rule(pattern_of(where), kind, " ".join(argument), reason.strip())
            )

    def rule(self, path, *kinds):
        for rule in self.rules:
            if rule.kind in kinds and rule.pattern.fullmatch(path):
                rule.used += 1
                return rule
        return None


def pattern_of(where):
    escaped = re.escape(where).replace(r"\*\*", ".*").replace(r"\[\*\]", r"\[[^\]]*\]")
    return re.compile(escaped.replace(r"\*", r"[^.\[\]]*"))


def named(value, variables):
    """The value with this broker's own ids replaced by the script's names for them."""
    if isinstance(value, dict):
        return {key: named_id(key, inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [named(inner, variables) for inner in value]
    if isinstance(value, uuid.UUID):
        return next((f"<{name}>" for name, known in variables if known == value), value)
    if isinstance(value, str):
        for name, known in variables:
            if isinstance(known, str):
                value = value.replace(known, f"<{name}>")
            elif isinstance(known, uuid.UUID):
                value = value.replace(base64_of(known), f"<{name}>")
    return value


def named_id(key, value, variables):
    """A number is an id only where the field says so."""
    if key == "ProducerId":
        return next((f"<{name}>" for name, known in variables if known == value), value)
    return named(value, variables)


def base64_of(identifier):
    import base64

    return base64.urlsafe_b64encode(identifier.bytes).decode().rstrip("=")


def variables_of(conversation):
    """The ids that the broker made and the script kept, the longest first."""
    made = [
        (name, value)
        for name, value in conversation.variables.items()
        if isinstance(value, uuid.UUID) and value.int
        or isinstance(value, str) and len(value) >= 8
        or isinstance(value, int) and value > 0
    ]
    return sorted(made, key=lambda pair: -len(str(pair[1])))


def shape(value):
    """What is left of a value that a broker makes up: whether it is there, and of what kind."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return "positive" if value > 0 else value
    if isinstance(value, uuid.UUID):
        return "an id" if value.int else "no id"
    if isinstance(value, str):
        value = UUID.sub("<uuid>", value)
        value = re.sub(r"[A-Za-z0-9_-]{22}", "<id>", value)
        return re.sub(r"\d+", "<number>", value)
    return type(value).__name__


def differences(theirs, ours, path, allowed):
    """Pairs that differ, as (path, theirs, ours)."""
    if allowed.rule(path, "any"):
        return
    if allowed.rule(path, "shape"):
        theirs, ours = shape(theirs), shape(ours)
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in [*theirs, *(name for name in ours if name not in theirs)]:
            yield from differences(
                theirs.get(name, ABSENT), ours.get(name, ABSENT), f"{path}.{name}", allowed
            )
    elif isinstance(theirs, list) and isinstance(ours, list):
        yield from array_differences(theirs, ours, path, allowed)
    elif theirs != ours:
        yield path, theirs, ours


def array_differences(theirs, ours, path, allowed):
    keyed = allowed.rule(path, "order", "served")
    if keyed:
        key = sort_key(keyed.argument)
        theirs, ours = sorted(theirs, key=key), sorted(ours, key=key)
    if keyed and keyed.kind == "served":
        served = {key(item) for item in ours}
        theirs = [item for item in theirs if key(item) in served]
    if len(theirs) != len(ours):
        yield f"{path}.length", f"{len(theirs)}: {brief(theirs)}", f"{len(ours)}: {brief(ours)}"
    for index, (one, other) in enumerate(zip(theirs, ours)):
        place = key(one)[0] if keyed and keyed.argument else index
        yield from differences(one, other, f"{path}[{place}]", allowed)


def sort_key(argument):
    def key(item):
        if isinstance(item, dict):
            return [ordered(item.get(name)) for name in argument.split()]
        return str(item)

    return lambda item: tuple(key(item)) if argument else str(item)


def ordered(value):
    """What an item is sorted by; an array as a set, since its own order may differ too."""
    return str(sorted(map(str, value))) if isinstance(value, list) else str(value)


def brief(value):
    written = str(value)
    return written if len(written) < 300 else written[:300] + "…"


class Absent:
    def __repr__(self):
        return "(absent)"


ABSENT = Absent()
