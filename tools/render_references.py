"""Make tables and figures of all kept references again, from their rows: after a change of how they are printed."""

from rlsp.reporting.reference import REFERENCE
from rlsp.reporting.render import render_figures, render_tables


def main() -> None:
    """Render every reference in place; figures of the same numbers and packages have the same bytes."""
    for rows in sorted(REFERENCE.glob("*/*/rows")):
        for old in (*rows.parent.glob("tables/*"), *rows.parent.glob("figures/*")):
            old.unlink()
        render_tables(rows.parent)
        for page in rows.parent.glob("tables/*.html"):
            page.unlink()
        render_figures(rows.parent, rows.parent / "figures")
        print(rows.parent)


if __name__ == "__main__":
    main()
