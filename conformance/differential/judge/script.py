"""Reads a script: a conversation of requests in a readable notation. See README.md."""

import re
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = re.compile(
    r"""\s*(?:\#[^\n]*|(?P<string>"(?:[^"\\]|\\.)*")(?:\*(?P<times>\d+))?|(?P<mark>[{}\[\]])|(?P<word>[^\s{}\[\]"]+))"""
)
RUNNER_WORDS = {"keep", "until", "only", "ignore"}


class Unreadable(Exception):
    """The script's own text is wrong."""


@dataclass
class Text:
    """A word or string whose variables are not yet replaced."""

    raw: str
    quoted: bool = False
    times: int = 1


@dataclass
class Marked:
    """A value with a word before it: `batch {...}`, `encoded NAME vN {...}`."""

    kind: str
    value: object
    name: str = ""
    version: object = 0


@dataclass
class Step:
    line: int
    action: str
    connection: str = "main"
    later: bool = False
    silent: bool = False
    api: str = ""
    version: object = None
    fields: dict = field(default_factory=dict)
    words: list = field(default_factory=list)
    keeps: list = field(default_factory=list)
    until: tuple | None = None
    only: list = field(default_factory=list)
    ignored: list = field(default_factory=list)


@dataclass
class Script:
    name: str
    steps: list
    versions: list
    alone: bool
    # Whether what coordinators write of its groups differs from run to run.
    unwritten: bool = False


class Tokens:
    def __init__(self, text, where):
        self.found, self.at, self.where = [], 0, where
        for match in TOKEN.finditer(text):
            if match["string"] is not None:
                plain = re.sub(r"\\(.)", r"\1", match["string"][1:-1])
                self.found.append(Text(plain, True, int(match["times"] or 1)))
            elif match["mark"]:
                self.found.append(match["mark"])
            elif match["word"]:
                self.found.append(Text(match["word"]))

    def peek(self):
        return self.found[self.at] if self.at < len(self.found) else None

    def next(self):
        token = self.peek()
        if token is None:
            raise Unreadable(f"{self.where}: it ends in the middle of a value")
        self.at += 1
        return token

    def word(self):
        token = self.next()
        if not isinstance(token, Text):
            raise Unreadable(f"{self.where}: {token!r} where a word belongs")
        return token.raw


def read_fields(tokens, closing):
    fields = {}
    while tokens.peek() != closing:
        if tokens.peek() is None:
            raise Unreadable(f"{tokens.where}: a bracket is left open")
        name = tokens.word()
        fields[name] = read_value(tokens)
    if closing:
        tokens.next()
    return fields


def read_value(tokens):
    token = tokens.next()
    if token == "{":
        return read_fields(tokens, "}")
    if token == "[":
        items = []
        while tokens.peek() != "]":
            items.append(read_value(tokens))
        tokens.next()
        return items
    if not isinstance(token, Text):
        raise Unreadable(f"{tokens.where}: {token!r} where a value belongs")
    if not token.quoted and token.raw == "batch":
        return Marked("batch", read_value(tokens))
    if not token.quoted and token.raw == "encoded":
        name, version = tokens.word(), tokens.word()
        return Marked("encoded", read_value(tokens), name, version)
    return token


def read(path: Path, root: Path):
    """The script in a file."""
    script = Script(str(path.relative_to(root)), [], [None], False)
    blocks = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace():
            if not blocks:
                raise Unreadable(f"{script.name}:{number}: a continuation of nothing")
            blocks[-1][1] += "\n" + line
        else:
            blocks.append([number, line])
    for number, text in blocks:
        read_block(script, number, text)
    return script


def read_block(script, number, text):
    where = f"{script.name}:{number}"
    words = text.split()
    if words[0] == "versions":
        script.versions = [int(word) for word in words[1:]]
    elif words[0] == "alone":
        script.alone = True
    elif words[0] == "unwritten" and len(words) > 2 and words[1] == "because":
        script.unwritten = True
    elif words[0] in RUNNER_WORDS:
        if not script.steps:
            raise Unreadable(f"{where}: {words[0]} before any request")
        attach(script.steps[-1], words, where)
    else:
        script.steps.append(read_step(number, text, where))


def attach(step, words, where):
    """What is said about the answer to the request before."""
    if words[0] == "keep" and len(words) == 3:
        step.keeps.append((words[1], words[2]))
    elif words[0] == "until" and len(words) == 3:
        step.until = (words[1], words[2])
    elif words[0] == "only" and len(words) == 4:
        step.only.append((words[1], words[2], words[3]))
    elif words[0] == "ignore" and len(words) > 3 and words[2] == "because":
        step.ignored.append(words[1])
    else:
        raise Unreadable(f"{where}: {' '.join(words)}")


def read_step(number, text, where):
    step = Step(number, "request")
    match = re.match(r"([a-z]\w*):\s+", text)
    if match:
        step.connection, text = match[1], text[match.end() :]
    tokens = Tokens(text, where)
    word = tokens.word()
    while word in ("later", "silent"):
        setattr(step, word, True)
        word = tokens.word()
    if word[0].islower():
        step.action = word
        if word not in ("answer", "topic", "sleep", "bytes", "close"):
            raise Unreadable(f"{where}: the runner does not know {word}")
        if word == "topic":
            step.words = [tokens.word()]
            step.fields = read_fields(tokens, None)
        else:
            step.words = [token.raw for token in tokens.found[1:]]
        return step
    step.api, version = word, tokens.word()
    if not re.fullmatch(r"v(N|\d+)", version):
        raise Unreadable(f"{where}: {version} where a version belongs, as v3 or vN")
    step.version = version[1:]
    step.fields = read_fields(tokens, None)
    return step
