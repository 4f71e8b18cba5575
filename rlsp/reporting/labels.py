"""Names beside the points of a panel, put where they cover nothing and point at nothing else."""

import itertools
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

# Where a name may stand: its horizontal and vertical side of the point, the best places first.
SIDES = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
GAPS = (5.0, 11.0, 18.0)  # points between the centre of a marker and the name; a far name has a thin leader
MARKER = 4.0  # points from the centre of a marker that stay free
APART = 3.0  # points between two names
CROSSING, UNCLEAR = 6, 30  # cost of a line through a name, of a name that may be taken for another point's
TRIALS = 200  # orders in which places are given away; the cheapest counts
LEADER = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}


@dataclass(frozen=True)
class Label:
    """The name of a point, in data coordinates."""

    x: float
    y: float
    text: str
    color: str


@dataclass(frozen=True)
class Place:
    """Where a name may stand (pixels), how bad that is, and whether it takes a leader."""

    box: Bbox
    cost: int
    is_far: bool


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
        Whether every name has a place where it is clear which point it belongs to; else nothing is written.
    """
    pixel = axes.figure.dpi / 72
    centres = np.array([axes.transData.transform((label.x, label.y)) for label in labels])
    lines = [line.get_transform().transform(line.get_xydata()) for line in axes.lines]
    lines = [line for line in lines if len(line) > 1]
    taken = [*bars(axes), *[Bbox([centre - MARKER * pixel, centre + MARKER * pixel]) for centre in centres]]
    places = []
    for number, label in enumerate(labels):
        text = axes.annotate(label.text, (label.x, label.y), linespacing=1.0)
        size = text.get_window_extent()
        text.remove()
        window = axes.get_window_extent()
        of_label = possible_places(number, centres, (size.width, size.height), lines, window, pixel)
        places.append(
            [
                place
                for place in of_label
                if is_inside(place.box, window) and not any(place.box.overlaps(box) for box in taken)
            ]
        )
    chosen = cheapest(places, APART * pixel)
    if chosen is None:
        return False
    for label, centre, place in zip(labels, centres, chosen, strict=True):
        axes.annotate(
            label.text,
            (label.x, label.y),
            (place.box.min - centre) / pixel,
            textcoords="offset points",
            va="bottom",
            color=label.color,
            linespacing=1.0,
            arrowprops=LEADER if place.is_far else None,
        ).set_in_layout(False)
    return True


def possible_places(
    number: int,
    centres: np.ndarray,
    size: tuple[float, float],
    lines: list[np.ndarray],
    window: Bbox,
    pixel: float,
) -> list[Place]:
    """Return the places that a name of a size (pixels) may have around its point, with their costs.

    A name above or below its point slides sideways where it would stick out of the window. A place is unclear where
    another point is as near to the name as its own, or where the leader passes another.
    """
    centre, others = centres[number], np.delete(centres, number, axis=0)
    places = []
    for far, gap in enumerate(GAPS):
        for rank, (right, up) in enumerate(SIDES):
            away = gap * pixel * (0.7 if right and up else 1.0)
            corner = [
                at + side * away + {1: 0.0, 0: -0.5, -1: -1.0}[side] * length
                for at, side, length in zip(centre, (right, up), size, strict=True)
            ]
            if not right:
                corner[0] = min(max(corner[0], window.x0), window.x1 - size[0])
            box = Bbox.from_bounds(*corner, *size)
            cost = far * len(SIDES) + rank + CROSSING * sum(crosses(box, line) for line in lines)
            nearest = distances(box, others)
            if far:
                passed = distances_to_leader(centre, np.clip(centre, box.min, box.max), others)
                is_clear = (nearest > GAPS[0] * pixel).all() and (passed > MARKER * pixel).all()
            else:
                is_clear = (nearest > distances(box, centre[None]) + pixel).all()
            cost += 0 if is_clear else UNCLEAR
            places.append(Place(box, cost, is_far=far > 0))
    return places


def cheapest(places: list[list[Place]], apart: float) -> list[Place] | None:
    """Return one place for each name, all some pixels apart, the cheapest found; None where there is none."""
    random = np.random.default_rng(0)
    fewest_first = sorted(range(len(places)), key=lambda number: len(places[number]))
    best, best_cost = None, np.inf
    for trial in range(TRIALS):
        order = random.permutation(len(places)) if trial else fewest_first
        chosen: dict[int, Place] = {}
        for number in order:
            free = [
                place
                for place in places[number]
                if not any(place.box.padded(apart).overlaps(other.box) for other in chosen.values())
            ]
            if not free:
                break
            chosen[number] = min(free, key=lambda place: place.cost)
        is_clear = all(place.cost < UNCLEAR for place in chosen.values())
        cost = sum(place.cost for place in chosen.values())
        if len(chosen) == len(places) and is_clear and cost < best_cost:
            best, best_cost = [chosen[number] for number in range(len(places))], cost
    return best


def is_inside(box: Bbox, window: Bbox) -> bool:
    """Tell whether a box lies inside a window."""
    return bool((box.min >= window.min).all() and (box.max <= window.max).all())


def distances(box: Bbox, points: np.ndarray) -> np.ndarray:
    """Return the distances (pixels) of points, shape (n, 2), from a box."""
    return np.linalg.norm(points - np.clip(points, box.min, box.max), axis=1)


def distances_to_leader(start: np.ndarray, stop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the distances (pixels) of points, shape (n, 2), from a straight line."""
    along = stop - start
    part = np.clip((points - start) @ along / max(along @ along, 1e-9), 0, 1)
    return np.linalg.norm(points - start - part[:, None] * along, axis=1)


def bars(axes: Axes) -> list[Bbox]:
    """Return the boxes (pixels) of the error bars of a panel."""
    segments = [
        axes.transData.transform(segment)
        for container in axes.containers
        for collection in container[2]
        for segment in collection.get_segments()
    ]
    return [Bbox([ends.min(axis=0) - 1, ends.max(axis=0) + 1]) for ends in segments]


def crosses(box: Bbox, line: np.ndarray) -> bool:
    """Tell whether a line (pixels, shape (points, 2)) passes through a box, by points along it."""
    parts = np.linspace(0, 1, 41)[:, None]
    steps = np.concatenate([a + (b - a) * parts for a, b in itertools.pairwise(line)])
    return bool(((steps > box.min) & (steps < box.max)).all(axis=1).any())
