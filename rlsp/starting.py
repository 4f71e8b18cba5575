"""A new folder in which a study is run, for those who have the package and no clone."""

import shutil
from pathlib import Path

from rlsp.errors import ConfigError
from rlsp.files import write_text
from rlsp.shipped import ROOT

SCHEMA = ROOT / "config" / "study.schema.json"  # editors that know YAML complete and explain keys by it
TEMPLATE = ROOT / "config" / "start" / "study.yaml"
# The study is study.yaml beside it, see `rlsp.config.study_files.first_study`. An included Snakefile has no default
# target, hence the rule.
SNAKEFILE = """\
from rlsp.shipped import ROOT
include: ROOT / "workflow" / "Snakefile"
rule study: input: rules.all.input
"""


def start_folder(folder: Path) -> list[Path]:
    """Lay out a folder for Snakemake: a Snakefile, a commented study to change, profiles of one machine and clusters.

    Parameters
    ----------
    folder : Path
        Made when it is not there; what else lies in it stays.

    Returns
    -------
    list of Path
        What was written: ``Snakefile``, ``study.yaml`` and ``profiles``.

    Raises
    ------
    ConfigError
        One of these is there already; nothing is written.
    """
    snakefile, study, profiles = written = [folder / name for name in ("Snakefile", "study.yaml", "profiles")]
    for path in written:
        if path.exists():
            raise ConfigError(
                f"{path}: expected a folder without one, this is there already; nothing was written"
            )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "profiles", profiles)
    write_text(study, f"# yaml-language-server: $schema={SCHEMA}\n{TEMPLATE.read_text()}")
    write_text(snakefile, SNAKEFILE)
    return written
