"""The API actions that the endpoint answers: one module each.

    actions/describe_self_images.py: ACTION   →   ACTIONS["DescribeSelfImages"]

Every module in this folder is loaded: a new action needs no registration.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.emulator.action import Action


def _load_actions() -> dict[str, Action]:
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {module.ACTION.name: module.ACTION for module in modules}


ACTIONS = _load_actions()
