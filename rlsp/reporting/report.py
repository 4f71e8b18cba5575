"""The report of a study: its notebook, executed and written as one self-contained HTML page."""

import os
import re
import sys
import tempfile
from pathlib import Path

from rlsp.errors import DataError
from rlsp.files import write_text
from rlsp.provenance import check_extra, missing_extra

NEEDED = ("the report", "notebook", "papermill", "nbconvert", "ipykernel")  # as `check_extra` takes it


def note_missing() -> None:
    """Say on stderr that the report, which a study makes last, will fail for want of a package."""
    if missing := missing_extra(*NEEDED):
        print(f"note: {missing}", file=sys.stderr)


def write_report(notebook: Path, page: Path, *, study: str, results: Path) -> None:
    """Execute the report notebook for a study and write it as a page that needs nothing else.

    Parameters
    ----------
    notebook : Path
        Notebook whose first cell holds the parameters ``study`` and ``results``.
    page : Path
        HTML file to write.
    study : str
        Name of the study.
    results : Path
        Its folder; the parent is handed to the notebook.

    Raises
    ------
    ConfigError
        What executes notebooks is not installed.
    DataError
        A cell of the notebook fails; the message names the error.
    """
    check_extra(*NEEDED)
    import papermill
    from nbconvert import HTMLExporter
    from papermill.exceptions import PapermillExecutionError

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment, not the user's
    parameters = {"study": study, "results": str(results.resolve().parent)}
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / "report.ipynb"
        try:
            papermill.execute_notebook(
                str(notebook), str(executed), parameters=parameters, kernel_name="python3", progress_bar=False
            )
        except PapermillExecutionError as error:
            raise DataError(f"{notebook.name}: {error.ename}: {error.evalue}") from error
        exporter = HTMLExporter(
            exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True
        )
        # No formulas and no widgets: leave out the scripts that the template would load from the network.
        exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = exporter.mermaid_js_url = ""
        html, _ = exporter.from_filename(str(executed))
    write_text(page, without_remote_scripts(html))


def without_remote_scripts(html: str) -> str:
    """Remove script elements that load something, and those that set up what they would have loaded."""
    html = re.sub(r'<script[^>]*\bsrc="[^"]*"[^>]*>\s*</script>', "", html)
    return re.sub(
        r"<script type=\"(?:text/x-mathjax-config|module)\">.*?</script>", "", html, flags=re.DOTALL
    )
