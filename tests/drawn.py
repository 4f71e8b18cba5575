"""What tests ask of figures."""

import hashlib

from matplotlib.text import Text


def hashes(paths):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def texts_inside(figure):
    """Assert that nothing of a figure is cut at its edge and no text too small; return the texts."""
    figure.draw_without_rendering()
    drawn = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= -0.02
    assert drawn.x1 <= width + 0.02
    assert drawn.y1 <= height + 0.02
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert all(text.get_fontsize() >= 8 for text in texts)
    return [text.get_text() for text in texts]
