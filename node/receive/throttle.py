"""What may happen a thousand times a minute is told once, and then once a minute how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from node.receive.index import Refusal

_log = structlog.get_logger(__name__)

WINDOW_S = 60.0
_MAX_KINDS = 1000  # more than so many kinds within the window are one more kind


@dataclass(slots=True)
class _Kind:
    until: float
    message: str
    detail: dict[str, Any]
    untold: int = 0


class Throttle:
    """Passes refusals on, the first of a kind at once, the others of the same minute as one with their number."""

    def __init__(self, tell: Callable[[Refusal], None], window_s: float = WINDOW_S) -> None:
        self._tell, self._window_s = tell, window_s
        self._kinds: dict[tuple[str, ...], _Kind] = {}
        self._lock = threading.Lock()

    def note(self, kind: tuple[str, ...], message: str, **detail: Any) -> None:
        """Tell of a refusal, or count it."""
        now = time.monotonic()
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
                kind = ("others",)
            known = self._kinds.get(kind)
            if known is not None and now < known.until:
                known.untold, known.message, known.detail = known.untold + 1, message, detail
                return
            untold = known.untold if known is not None else 0
            self._kinds[kind] = _Kind(now + self._window_s, message, detail)
        self._pass_on(message, detail, untold)

    def flush(self, *, everything: bool = False) -> None:
        """Tell of what was counted, where its minute is over. To be called now and then, and at the end."""
        now = time.monotonic()
        with self._lock:
            over = [kind for kind, known in self._kinds.items() if everything or now >= known.until]
            found = [self._kinds.pop(kind) for kind in over]
        for known in found:
            if known.untold:
                self._pass_on(known.message, known.detail, known.untold - 1)

    def _pass_on(self, message: str, detail: dict[str, Any], more: int) -> None:
        if more:
            message, detail = f"{message} (and {more} more such since the last record)", {**detail, "more": more}
        _log.warning("refused", reason=message, **detail)
        self._tell(Refusal(message, detail))
