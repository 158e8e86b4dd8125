"""Progress on standard error: a bar on a terminal, a timed line now and then otherwise."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from types import TracebackType

from tqdm import tqdm

from pipeline.files import one_line

#: Seconds between two lines when standard error is not a terminal.
LINE_INTERVAL_S = 10.0


class Progress:
    """Count work that is done, as a context manager.

    >>> with Progress("synth", total=2, unit="sample") as progress:
    ...     progress.advance()
    ...     progress.advance()
    """

    def __init__(self, label: str, *, total: int, unit: str = "it", initial: int = 0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._initial = initial
        self._bar = (
            tqdm(total=total, desc=label, unit=unit, initial=initial, dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )
        self._start = self._last_line = time.monotonic()
        self._counting = threading.Lock()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more units, from any thread; ``note`` is shown beside them (a loss, a name)."""
        with self._counting:
            self.done += count
            if self._bar is not None:
                if note:
                    self._bar.set_postfix_str(note, refresh=False)
                self._bar.update(count)
            elif time.monotonic() - self._last_line >= LINE_INTERVAL_S:
                self._line(note)

    def message(self, text: str) -> None:
        """Print one line without tearing the bar."""
        with suppress(OSError):
            tqdm.write(one_line(text), file=sys.stderr)

    def all_done(self) -> None:
        """Say that no more is to come than what is done."""
        with self._counting:
            self.total = self.done
            if self._bar is not None:
                self._bar.total = self.done
                self._bar.refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._line("")

    def _line(self, note: str) -> None:
        self._last_line = time.monotonic()
        seconds = self._last_line - self._start
        rate = (self.done - self._initial) / seconds if seconds > 0 else 0.0
        left = (
            f", {(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.done < self.total else ""
        )
        note = f"  {note}" if note else ""
        done = f"{self.done}/{self.total} {self.unit} in {seconds:.0f} s ({rate:.2f}/s{left})"
        with suppress(OSError):  # the reader of our messages has gone, which is no reason to end
            print(f"{self.label}: {done}{note}", file=sys.stderr, flush=True)
