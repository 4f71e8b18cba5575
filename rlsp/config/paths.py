"""Where everything lies: one spelling of each path, for a name as well as for a wildcard such as ``{run}``.

A manifest stands for the folder that it is written into last.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Paths of a study.

    Parameters
    ----------
    data : Path
        Folder that all studies share: downloads, clips, LR clips, optical flow.
    results : Path
        Folder of one study's results.
    """

    data: Path
    results: Path

    def downloaded(self, folder: str) -> Path:
        """Manifest of a download."""
        return self.data / "downloads" / folder / "manifest.json"

    def archive(self, folder: str, file: str) -> Path:
        """File of a download that is an archive."""
        return self.data / "downloads" / folder / file

    def unpacked(self, packed: str) -> Path:
        """Manifest of the clips that were taken out of an archive."""
        return self.data / "clips" / packed / "unpacked.json"

    def clips(self, packed: str) -> Path:
        """Manifest of a packed data set."""
        return self.data / "clips" / packed / "manifest.json"

    def lr(self, degraded: str, packed: str) -> Path:
        """Manifest of the LR clips of a data set."""
        return self.data / "lr" / degraded / packed / "manifest.json"

    def flow(self, packed: str) -> Path:
        """Manifest of the optical flow of a data set."""
        return self.data / "flow" / packed / "manifest.json"

    def official_lr(self, dataset: str) -> Path:
        """Table of the comparison of our LR clips with the official ones."""
        return self.results / "official_lr" / f"{dataset}.csv"

    def weights(self, run: str) -> Path:
        """Weights of a run."""
        return self.results / "weights" / run / "model.safetensors"

    def training_log(self, run: str) -> Path:
        """Log of a training."""
        return self.weights(run).with_name("training.csv")

    def provenance(self, run: str) -> Path:
        """Where the weights of a training come from."""
        return self.weights(run).with_name("provenance.json")

    def training_state(self, folder: str) -> Path:
        """Folder of the checkpoints of a training."""
        return self.results / "training" / folder

    def restored(self, run: str, dataset: str) -> Path:
        """Manifest of a run's frames."""
        return self.results / "restored" / run / dataset / "manifest.json"

    def scores(self, run: str, dataset: str) -> Path:
        """Scores of a run on a data set."""
        return self.results / "scores" / run / f"{dataset}.csv"

    def exactness(self, pair: str) -> Path:
        """Table of how well the frames of two runs agree."""
        return self.results / "exactness" / f"{pair}.csv"

    def runtime(self, device: str, what: str = "") -> Path:
        """Raw run times, or with `what` the table of cases or of the sweep."""
        return self.results / "runtime" / f"{'-'.join(filter(None, [device, what]))}.csv"

    def measured(self, what: str) -> Path:
        """Table of what one job measures of all runs: what models count, what precisions change."""
        return self.results / "measured" / f"{what}.csv"

    def rows(self, kind: str) -> Path:
        """Rows of one kind, of all runs: tables and figures are made from these."""
        return self.results / "rows" / f"{kind}.csv"

    @property
    def facts(self) -> Path:
        """What tables and figures know of the study besides its rows."""
        return self.results / "rows" / "study.json"

    def table(self, name: str) -> Path:
        """Numbers of one analysis."""
        return self.tables / f"{name}.csv"

    @property
    def tables(self) -> Path:
        """Folder of tables."""
        return self.results / "tables"

    def figures(self, kind: str) -> Path:
        """Folder of figures: of numbers, or of frames."""
        return self.results / "figures" / kind

    @property
    def report(self) -> Path:
        """The report."""
        return self.results / "report.html"

    def log(self, rule: str, *wildcards: str) -> Path:
        """Log of a job."""
        return self._of_job("logs", ".log", rule, *wildcards)

    def benchmark(self, rule: str, *wildcards: str) -> Path:
        """Table of the time and memory that a job took, as Snakemake measures them."""
        return self._of_job("benchmarks", ".tsv", rule, *wildcards)

    def _of_job(self, folder: str, suffix: str, *names: str) -> Path:
        """File of a job: a folder for its rule and each wildcard but the last."""
        return self.results.joinpath(folder, *names[:-1], names[-1] + suffix)
