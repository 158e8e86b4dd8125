"""What a run of gpu.py found: printed line by line, and written to files anew with each line."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number."""

    section: str
    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether it keeps its bound or reaches its target, which NaN never does; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least


class Report:
    """The lines and figures so far.

    Args:
        title: the device and the versions.
        out: path without suffix of a Markdown and a JSON file; None prints only.
    """

    def __init__(self, title: str, out: Path | None) -> None:
        self.good = True
        self.figures: list[Figure] = []
        self._title, self._out = title, out
        self._section = ""
        self._ends: dict[str, str] = {}
        self._markdown = [f"# {title}", ""]
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
        print(title, flush=True)
        self._write()

    def begin(self, section: str) -> None:
        """What follows belongs to a section."""
        self._section = section
        print(f"\n## {section}", flush=True)
        self._markdown += ["", f"## {section}", ""]

    def end(self, how: str, *, good: bool = True) -> None:
        """How the section ended; not good is a failure of the run."""
        self.good &= good
        self._ends[self._section] = how
        self.say(how)

    def say(self, text: str) -> None:
        """One line of text."""
        print(text, flush=True)
        self._markdown.append(f"- {text}")
        self._write()

    def figure(self, name: str, value: float, unit: str = "", *, at_least: float | None = None) -> None:
        """A number, beside a target that it may miss without a failure."""
        self._add(name, value, unit, at_least=at_least, words=("target: reached", "target: MISSED"))

    def limit(self, name: str, value: float, unit: str = "", *, at_most: float) -> None:
        """A number, beside a target that it should not exceed; a failure it is not."""
        self._add(name, value, unit, at_most=at_most, words=("target: reached", "target: MISSED"))

    def check(self, name: str, value: float, *, at_most: float) -> None:
        """An error that must keep its bound."""
        self.good &= self._add(name, value, "", at_most=at_most, words=("bound: kept", "bound: BROKEN"))

    def keep(self, name: str, value: float, unit: str = "") -> None:
        """A number for the JSON file alone, because a line says it already."""
        self.figures.append(Figure(section=self._section, name=name, value=value, unit=unit))
        self._write()

    def fail(self, text: str) -> None:
        """A line about what must not be."""
        self.good = False
        self.say(text)

    def same(self, name: str, same: bool) -> None:
        """Two results that must be equal bit for bit."""
        self.good &= same
        self.figures.append(Figure(section=self._section, name=name, value=int(same), unit="", at_least=1))
        self.say(f"{name}: {'the same, bit for bit' if same else 'DIFFERENT'}")

    def _add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        words: tuple[str, str],
    ) -> bool:
        figure = Figure(
            section=self._section, name=name, value=value, unit=unit, at_most=at_most, at_least=at_least
        )
        self.figures.append(figure)
        text = f"{name}: {value:.4g}{unit and ' '}{unit}"
        if figure.met is not None:
            least = at_most is None
            text += f" ({'at least' if least else 'at most'} {at_least if least else at_most:g}, "
            text += f"{words[0] if figure.met else words[1]})"
        self.say(text)
        return figure.met is not False

    def _write(self) -> None:
        if self._out is None:
            return
        content = {
            "title": self._title,
            "good": self.good,
            "sections": self._ends,
            "figures": [
                # JSON knows neither infinity nor NaN.
                {**asdict(f), "value": f.value if math.isfinite(f.value) else None, "met": f.met}
                for f in self.figures
            ],
        }
        _replace(self._out.with_suffix(".md"), "\n".join(self._markdown) + "\n")
        _replace(self._out.with_suffix(".json"), json.dumps(content, indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    """A kill in the middle leaves the file of before."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
