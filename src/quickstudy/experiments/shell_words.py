"""Error messages in the words of the shell: the names of options in place of the names of Python's arguments."""

import ast
import re
from collections.abc import Mapping
from typing import Any

ALIASES = {"query": "support", "num_envs": "episodes"}
"""Options from which recipes take arguments of another name, where that is not an option itself."""
_VALUE = r"""'[^']*'|"[^"]*"|\([^)]*\)|\[[^]]*\]|[^\s;,:)]*"""


def in_shell_words(message: str, options: Mapping[str, Any], words: Mapping[str, str] | None = None) -> str:
    """Return a message with options of the shell in place of arguments; what stands within backticks is left alone.

    `lr=-1.0` becomes `--lr -1.0`. If an option such as `inner_lr` was given this value, and `lr` was not, the message
    is about that option.

    Args:
        message: the message of an error.
        options: values of the command's options, by name.
        words: what options are called in this command, if not `--name`; also of arguments that are no options.

    >>> in_shell_words("row 3 has no value; pass missing='drop' to leave it out", {"missing": "error"})
    'row 3 has no value; pass --missing drop to leave it out'
    >>> in_shell_words("lr=-1.0; expected a positive number", {"lr": 0.001, "inner_lr": -1.0})
    '--inner-lr -1.0; expected a positive number'
    >>> in_shell_words("--seen 9: give at most 6", {"seen": (9,)}, {"seen": "--support"})
    '--support 9: give at most 6'
    """
    words = words or {}
    names = {*options, *words, *(alias for alias, name in ALIASES.items() if name in options)}
    argument = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, sorted(names)))})=({_VALUE})")

    def option(found: re.Match[str]) -> str:
        name, value = found[1], _literal(found[2])
        name = _given(name, value, options)
        word = words.get(name, _option(name))
        if isinstance(value, bool):
            return word if value else word.replace("--", "--no-", 1)
        return f"{word} {_typed(value)}".rstrip()

    parts = message.split("`")
    parts[::2] = [argument.sub(option, part) for part in parts[::2]]
    for name, word in words.items():
        parts[::2] = [re.sub(rf"{_option(name)}(?![\w-])", word, part) for part in parts[::2]]
    return "`".join(parts)


def _given(name: str, value: Any, options: Mapping[str, Any]) -> str:
    """Return the option that was given this value: `name`, its alias, or an option whose name ends with it."""
    if name in options and options[name] == value:
        return name
    if name not in options and ALIASES.get(name) in options:
        return ALIASES[name]
    longer = [option for option, given in options.items() if option.endswith(f"_{name}") and given == value]
    return longer[0] if longer else name


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _literal(text: str) -> Any:
    """Return the value that is written as Python code, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _typed(value: Any) -> str:
    """Return a value as it is typed in a shell."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
