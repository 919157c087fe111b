"""Shell completion: of commands and options by click, of table and view names by us.

eval "$(_ENS_IMAGES_COMPLETE=bash_source ens-images)"
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

_VARIABLE: Final = "_ENS_IMAGES_COMPLETE"


def answer_shell(group: click.Group) -> int | None:
    """Answer a completion request of a shell, or print the script that sends such requests.

    Returns: the exit code; None where the environment holds no request.
    """
    instruction = os.environ.get(_VARIABLE)
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(group, {}, "ens-images", _VARIABLE, instruction)


def complete_view(_: click.Context, __: click.Parameter, prefix: str) -> list[str]:
    """Return the tables and views whose names start with `prefix`."""
    from pipeline.views.catalog import relations

    return [name for name in relations() if name.startswith(prefix)]
