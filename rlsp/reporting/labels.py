"""Names beside the points of a panel, put where they cover nothing."""

import itertools
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

# Where a name may stand: its horizontal and vertical side of the point, the best places first.
SIDES = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
GAPS = (5.0, 11.0, 18.0)  # points between the centre of a marker and the name; a far name has a thin leader
MARKER = 4.0  # points from the centre of a marker that stay free
LEADER = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}


@dataclass(frozen=True)
class Label:
    """The name of a point, in data coordinates."""

    x: float
    y: float
    text: str
    color: str


def place_labels(axes: Axes, labels: list[Label]) -> bool:
    """Write each name beside its point, inside the panel and clear of all points, bars and other names.

    Parameters
    ----------
    axes : Axes
        A panel whose figure has been laid out, with its points drawn.
    labels : list of Label
        One for each point.

    Returns
    -------
    bool
        Whether there was a place for every name; else some are missing.
    """
    pixel = axes.figure.dpi / 72
    window = axes.get_window_extent()
    centres = [axes.transData.transform((label.x, label.y)) for label in labels]
    taken = [Bbox.from_extents(x - MARKER * pixel, y - MARKER * pixel, x + MARKER * pixel, y + MARKER * pixel)
             for x, y in centres]  # fmt: skip
    taken += bars(axes)
    lines = [
        line.get_transform().transform(line.get_xydata()) for line in axes.lines if len(line.get_xydata()) > 1
    ]
    # the crowded first: those with most neighbours within an inch
    crowd = [
        sum(abs(centres[a] - centre).max() < 72 * pixel for centre in centres) for a in range(len(labels))
    ]
    is_whole = True
    for number in sorted(range(len(labels)), key=lambda number: (-crowd[number], -centres[number][0])):
        label, centre = labels[number], centres[number]
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            color=label.color,
            linespacing=1.0,
        )
        text.set_in_layout(False)
        size = text.get_window_extent()
        places = possible_places(centre, size.width, size.height, pixel)
        free = [
            place
            for place in places
            if is_inside(place[1], window) and not any(place[1].overlaps(box) for box in taken)
        ]
        text.remove()
        if not free:
            is_whole = False
            continue
        rank, box = min(free, key=lambda place: place[0] + 6 * crossings(place[1], lines))
        offset = ((box.x0 - centre[0]) / pixel, (box.y0 - centre[1]) / pixel)
        axes.annotate(
            label.text, (label.x, label.y), offset, textcoords="offset points", color=label.color, linespacing=1.0,
            va="bottom", arrowprops=LEADER if rank >= len(SIDES) else None,
        ).set_in_layout(False)  # fmt: skip
        taken.append(box)
    return is_whole


def possible_places(
    centre: tuple[float, float], width: float, height: float, pixel: float
) -> list[tuple[int, Bbox]]:
    """Return the boxes that a name of a size (pixels) may have around a point, with their rank."""
    places = []
    for far, gap in enumerate(GAPS):
        for number, (right, up) in enumerate(SIDES):
            away = gap * pixel * (0.7 if right and up else 1.0)
            x0 = centre[0] + right * away + {1: 0.0, 0: -0.5, -1: -1.0}[right] * width
            y0 = centre[1] + up * away + {1: 0.0, 0: -0.5, -1: -1.0}[up] * height
            places.append((far * len(SIDES) + number, Bbox.from_bounds(x0, y0, width, height)))
    return places


def is_inside(box: Bbox, window: Bbox) -> bool:
    """Tell whether a box lies inside a window."""
    return window.x0 <= box.x0 and box.x1 <= window.x1 and window.y0 <= box.y0 and box.y1 <= window.y1


def bars(axes: Axes) -> list[Bbox]:
    """Return the boxes (pixels) of the error bars of a panel."""
    boxes = []
    for container in axes.containers:
        for collection in container[2]:
            for segment in collection.get_segments():
                boxes.append(Bbox(axes.transData.transform(segment)).padded(1.0))
    return [Bbox.from_extents(*box.min, *box.max) for box in boxes]


def crossings(box: Bbox, lines: list[np.ndarray]) -> int:
    """Return how many of the lines (pixels, shape (points, 2)) pass through a box, by points along them."""
    parts = np.linspace(0, 1, 41)[:, None]
    count = 0
    for line in lines:
        steps = np.concatenate([a + (b - a) * parts for a, b in itertools.pairwise(line)])
        inside = (steps > box.min) & (steps < box.max)
        count += bool(inside.all(axis=1).any())
    return count
