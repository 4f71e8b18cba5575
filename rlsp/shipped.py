"""Where the files are that come with the package: workflow, studies, notebooks, profiles."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_SHARE = PACKAGE / "share"  # of a wheel (setup.py); a clone and an editable install have no such folder
# The clone that the package is in, or None in a wheel.
CHECKOUT = None if _SHARE.is_dir() else PACKAGE.parent
# Holds workflow, config, notebooks, profiles, envs and results/reference/training-rate.
ROOT = CHECKOUT or _SHARE
CLAIMS = PACKAGE / "reporting" / "claims" / "claims.yaml"
PUBLISHED = [PACKAGE / "reporting" / "published.csv", CLAIMS]  # what results are compared with
