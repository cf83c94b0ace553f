"""Charts of a load test as SVG: axes with ticks, labels and units, in the colours of the page around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bars", "Line", "Scale", "chart", "linear", "logarithmic"]

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 34, 44
_MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to 0..1, and the ticks to be seen on the way."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """Points to be joined; where a value is nan the line is broken."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str


@dataclass(frozen=True, slots=True)
class Bars:
    """(from, to, low, high) each."""

    name: str
    boxes: Sequence[tuple[float, float, float, float]]
    color: str


def linear(low: float, high: float, *, room: bool = True) -> Scale:
    """An even scale with round ticks, from *low* to *high* or, with *room*, to the tick above."""
    if not high > low:
        high = low + 1
    step = _round_step((high - low) / _MOST_TICKS)
    first, last = math.ceil(low / step), math.ceil(high / step - 1e-9)
    top = max(high, last * step) if room else high
    marks = [number * step for number in range(first, last + 1)]
    ticks = [(mark, f"{mark:,.10g}") for mark in marks if mark <= top * (1 + 1e-9)]
    return Scale(lambda value: (value - low) / (top - low), ticks)


def _round_step(least: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= least * (1 - 1e-9))


def logarithmic(low: float, high: float, ticks: Sequence[tuple[float, str]] | None = None) -> Scale:
    """A scale on which a factor is a distance; with ticks at powers of ten and, if these are few, between."""
    high = max(high, low * 1.0001)
    if ticks is None:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        factors = (1, 2, 5) if len(powers) <= 4 else (1,)
        marks = [10.0**power * factor for power in powers for factor in factors]
        ticks = [(mark, f"{mark:,.10g}") for mark in marks]
    width = math.log(high / low)
    return Scale(
        lambda value: math.log(max(value, low) / low) / width,
        [(at, text) for at, text in ticks if low <= at <= high],
    )


def chart(title: str, x: Scale, x_label: str, y: Scale, y_label: str, layers: Sequence[Line | Bars]) -> str:
    """A figure: *layers* over one another, axes, and a legend where there is more than one layer."""
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def px(value: float) -> float:
        return _LEFT + width * min(1.0, max(0.0, x.place(value)))

    def py(value: float) -> float:
        return _TOP + height * (1 - min(1.0, max(0.0, y.place(value))))

    parts = [
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' role='img' "
        f"aria-label='{escape(title, quote=True)}'>",
        f"<text x='{_LEFT}' y='14' font-weight='600'>{escape(title)}</text>",
        *_axes(x, y, px, py),
        f"<text x='{_LEFT + width / 2:.0f}' y='{_HEIGHT - 6}' text-anchor='middle'>{escape(x_label)}</text>",
        f"<text transform='translate(13 {_TOP + height / 2:.0f}) rotate(-90)' text-anchor='middle'>"
        f"{escape(y_label)}</text>",
    ]
    for layer in layers:
        parts.append(_boxes(layer, px, py) if isinstance(layer, Bars) else _path(layer, px, py))
    if len(layers) > 1:
        parts += _legend(layers)
    return "".join((*parts, "</svg>"))


def _axes(x: Scale, y: Scale, px: Callable[[float], float], py: Callable[[float], float]) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value, text in y.ticks:
        at = py(value)
        parts.append(
            f"<path d='M{_LEFT} {at:.1f}H{right}' stroke='currentColor' opacity='.15'/>"
            f"<text x='{_LEFT - 5}' y='{at + 4:.1f}' text-anchor='end'>{escape(text)}</text>"
        )
    for value, text in x.ticks:
        at = px(value)
        parts.append(
            f"<line x1='{at:.1f}' x2='{at:.1f}' y1='{bottom}' y2='{bottom + 4}' stroke='currentColor'/>"
            f"<text x='{at:.1f}' y='{bottom + 17}' text-anchor='middle'>{escape(text)}</text>"
        )
    parts.append(f"<path d='M{_LEFT} {_TOP}V{bottom}H{right}' fill='none' stroke='currentColor'/>")
    return parts


def _boxes(bars: Bars, px: Callable[[float], float], py: Callable[[float], float]) -> str:
    return "".join(
        f"<rect x='{px(left):.1f}' y='{py(high):.1f}' width='{max(0.6, px(right) - px(left) - 0.4):.1f}' "
        f"height='{py(low) - py(high):.1f}' fill='{bars.color}'/>"
        for left, right, low, high in bars.boxes
        if high > low
    )


def _path(line: Line, px: Callable[[float], float], py: Callable[[float], float]) -> str:
    steps, pen = [], "M"
    for at, value in line.points:
        if math.isnan(value):
            pen = "M"
            continue
        steps.append(f"{pen}{px(at):.1f} {py(value):.1f}")
        pen = "L"
    dots = ""
    if len(line.points) <= 40:
        dots = "".join(
            f"<circle cx='{px(at):.1f}' cy='{py(value):.1f}' r='2' fill='{line.color}'/>"
            for at, value in line.points
            if not math.isnan(value)
        )
    return f"<path d='{''.join(steps)}' fill='none' stroke='{line.color}' stroke-width='1.6'/>{dots}"


def _legend(layers: Sequence[Line | Bars]) -> list[str]:
    parts, at = [], float(_WIDTH - _RIGHT)
    for layer in reversed(layers):
        at -= 7.0 * len(layer.name) + 22
        parts.append(
            f"<rect x='{at:.0f}' y='6' width='9' height='9' fill='{layer.color}'/>"
            f"<text x='{at + 13:.0f}' y='14'>{escape(layer.name)}</text>"
        )
    return parts
