"""Fetch the first frames of the authors' released files, as a mirror that tests and studies read.

About 40 MB, which must not be passed on: RLSP's release is CC BY-NC-SA, Vid4 has no licence. ``RLSP_TEST_MIRROR`` names
the folder to the tests (``make test-released`` does both), ``RLSP_MIRROR`` its first sub-folder to studies.
"""

import argparse
import os
import urllib.parse
from pathlib import Path

from rlsp.config.needs import needed_downloads
from rlsp.config.specs.downloads import Files
from rlsp.config.study import Study
from rlsp.data.download import Item, fetch_files
from rlsp.data.sources import listed_files
from rlsp.errors import one_line_errors
from rlsp.shipped import ROOT

STUDY = (ROOT / "config" / "released.yaml", ROOT / "tests" / "studies" / "released-first.yaml")


def mirror_items(study: Study) -> dict[str, list[Item]]:
    """List what a study downloads from lists of files, by host: ``<repository>/<commit>/<path>``."""
    items: dict[str, dict[str, Item]] = {}
    for name in needed_downloads(study):
        spec = study.download(name)
        if not isinstance(spec, Files):
            continue
        base = (os.environ.get("RLSP_MIRROR") or spec.base_url).rstrip("/")
        host = urllib.parse.urlsplit(spec.base_url).netloc
        for row in listed_files(name, spec):
            place = "/".join([row["repository"], row["commit"], row["path"]])
            url = f"{base}/{urllib.parse.quote(place)}"
            item = Item(url=url, path=place, bytes=int(row["bytes"]), sha256=row["sha256"])
            items.setdefault(host, {})[place] = item
    return {host: list(of_host.values()) for host, of_host in items.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the mirror; what is there already is kept")
    args = parser.parse_args()
    with one_line_errors():
        for host, items in mirror_items(Study.from_file(*STUDY)).items():
            fetch_files(items, args.folder / host)
    print(args.folder)


if __name__ == "__main__":
    main()
