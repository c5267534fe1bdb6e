"""Curves as inline SVG, drawn by the server: no script, no picture file, sharp at every size, in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 560.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 10.0, 38.0
_LARGEST_X = 0.99  # of the curves' own area: the long flat tail of an MTF is cut

_TITLES = {"MTF": "Modulation transfer function", "gain": "Gain of the filter"}
# The order in which a plugin's curves take the styles of the style sheet; others follow.
_STYLES = {"source": 0, "before": 0, "target": 1, "expected": 2, "after": 2, "gain": 2}


def charts(curves: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """A title and a chart for each pair of axes, with every curve that has them."""
    by_axes: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for name, curve in curves.items():
        by_axes.setdefault((curve["x_label"], curve["y_label"]), {})[name] = curve
    return [(_TITLES.get(axes[1], axes[1]), chart(group, *axes)) for axes, group in by_axes.items()]


def chart(curves: Mapping[str, Mapping[str, Any]], x_label: str, y_label: str) -> Markup:
    """Curves with common axes: a legend, and an SVG with bands, curves, axes and a description for who cannot see it."""
    drawn = {name: _points(curve) for name, curve in curves.items()}
    drawn = {name: points for name, points in drawn.items() if len(points) > 1}
    if not drawn:
        return Markup("")
    right = _ticks(0, max(_end(points) for points in drawn.values()))
    tops = [max(point[3] for point in points if point[0] <= right[-1]) for points in drawn.values()]
    top = _ticks(0, max(tops))
    scale = _Scale(right[-1], top[-1])
    parts = [_grid(scale, right, top, x_label, y_label)]
    styles = {name: _STYLES.get(name, 3) for name in drawn}
    for name, points in drawn.items():
        if any(low < high for _x, _y, low, high in points):
            parts.append(_band(scale, points, styles[name]))
    parts += [_curve(scale, points, styles[name]) for name, points in drawn.items()]
    told = "; ".join(f"{name}: {_in_words(points)}" for name, points in drawn.items())
    legend = Markup("").join(_key(name, styles[name]) for name in drawn)
    return Markup(
        '<div class="legend">{legend}</div>'
        '<svg class="chart" viewBox="0 0 {w:.0f} {h:.0f}" role="img" aria-label="{title}: {told}">{body}</svg>'
    ).format(
        legend=legend, w=_WIDTH, h=_HEIGHT, title=f"{y_label} over {x_label}", told=told, body=Markup("").join(parts)
    )


class _Scale:
    def __init__(self, right: float, top: float) -> None:
        self._right, self._top = right, top

    def x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self._right

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * max(value, 0.0) / self._top

    def holds(self, x: float) -> bool:
        return x <= self._right * 1.0001


Point = tuple[float, float, float, float]


def _points(curve: Mapping[str, Any]) -> list[Point]:
    """x, y, low, high of every point that has a value."""
    lows, highs = curve.get("low") or curve["y"], curve.get("high") or curve["y"]
    rows = zip(curve["x"], curve["y"], lows, highs, strict=True)
    return [
        (x, y, y if low is None else low, y if high is None else high)
        for x, y, low, high in rows
        if x is not None and y is not None
    ]


def _end(points: Sequence[Point]) -> float:
    """Where nearly all of a curve's area lies to the left."""
    total, so_far = math.fsum(abs(point[1]) for point in points), 0.0
    for x, y, _low, _high in points:
        so_far += abs(y)
        if so_far >= _LARGEST_X * total:
            return x
    return points[-1][0]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to at least high, about five of them."""
    span = (high - low) or 1.0
    magnitude = 10 ** math.floor(math.log10(span / 5))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= span / 6)
    count = math.ceil(span / step - 1e-9)
    return [low + step * number for number in range(count + 1)]


def _path(scale: _Scale, pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in pairs)


def _curve(scale: _Scale, points: Sequence[Point], style: int) -> Markup:
    line = _path(scale, [(x, y) for x, y, _low, _high in points if scale.holds(x)])
    return Markup('<polyline class="curve s{}" points="{}"/>').format(style, line)


def _band(scale: _Scale, points: Sequence[Point], style: int) -> Markup:
    shown = [point for point in points if scale.holds(point[0])]
    outline = [(x, high) for x, _y, _low, high in shown] + [(x, low) for x, _y, low, _high in reversed(shown)]
    return Markup('<polygon class="band s{}" points="{}"/>').format(style, _path(scale, outline))


def _grid(scale: _Scale, right: Sequence[float], top: Sequence[float], x_label: str, y_label: str) -> Markup:
    lines, words = [], []
    for value in top:
        y = scale.y(value)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        words.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in right:
        x, base = scale.x(value), _HEIGHT - _BOTTOM
        lines.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        words.append(f'<text x="{x:.1f}" y="{base + 17}" text-anchor="middle">{value:g}</text>')
    base = _HEIGHT - _BOTTOM
    lines.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (_TOP + base) / 2
    words.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'
    )
    words.append(
        f'<text transform="rotate(-90 11 {middle})" x="11" y="{middle}" text-anchor="middle">{escape(y_label)}</text>'
    )
    return Markup("".join(lines + words))  # noqa: S704 - numbers of ours, and the two labels escaped


def _key(name: str, style: int) -> Markup:
    line = '<svg class="chart" viewBox="0 0 22 8" aria-hidden="true"><line class="curve s{}" x1="0" x2="22" y1="4" y2="4"/></svg>'
    return Markup("<span>" + line + "{}</span>").format(style, name)  # noqa: S704 - a constant


def _in_words(points: Sequence[Point]) -> str:
    step = max(1, len(points) // 6)
    return ", ".join(f"{y:.2g} at {x:.2g}" for x, y, _low, _high in points[::step])
