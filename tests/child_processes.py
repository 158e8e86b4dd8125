"""Functions of the helper modules in processes of their own, which may be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent


def start(function: Callable[..., None], *arguments: object, **options: Any) -> subprocess.Popen[Any]:
    """Call a function with its arguments as strings, from the repository's root; options are Popen's."""
    code = (
        f"import sys; sys.path.insert(1, {str(TESTS)!r})\n"
        f"from {function.__module__} import {function.__name__} as function; function(*sys.argv[1:])"
    )
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=TESTS.parent, **options)
