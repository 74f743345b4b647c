"""Progress on stderr: a bar of tqdm where it is installed, else a plain line."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any, Optional

#: Seconds after which a job without epochs is worth a bar.
DELAY = 1.0


class Progress:
    """The progress of one job of `total` parts; use it in a ``with``."""

    def __init__(self, what: str, total: int, *, show: bool, delay: float = DELAY) -> None:
        self._what, self._total, self._done, self._line = what, total, 0, ""
        self._bar: Optional[Any] = None
        self._plain = False
        self._after = time.monotonic() + delay
        if not show:
            return
        try:
            with warnings.catch_warnings():
                # Without ipywidgets tqdm warns, and draws the bar as text.
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm
            self._bar = tqdm(total=total, desc=what, delay=delay)
        except ImportError:
            self._plain = True

    @property
    def shown(self) -> bool:
        return self._bar is not None or self._plain

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._line and sys.stderr is not None and sys.stderr.isatty():
            print(file=sys.stderr)

    def done(self, parts: int) -> None:
        """So many parts are done."""
        parts, before = min(parts, self._total), self._done
        self._done = parts
        if self._bar is not None:
            self._bar.update(parts - before)
        elif self._plain and sys.stderr is not None and sys.stderr.isatty() and time.monotonic() >= self._after:
            self._show(f"{self._what} {parts}/{self._total}")

    def message(self, text: str) -> None:
        """Shows a result."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        elif self._plain and sys.stderr is not None:
            if sys.stderr.isatty():
                self._show(f"{self._what} {self._done}/{self._total} {text}")
            else:
                print(f"{self._what}: {text}", file=sys.stderr, flush=True)

    def _show(self, line: str) -> None:
        padding = " " * max(0, len(self._line) - len(line))
        print(f"\r{line}{padding}", end="", file=sys.stderr, flush=True)
        self._line = line
