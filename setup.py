"""What pyproject.toml cannot say: a wheel holds folders of the repository, as rlsp/share (`rlsp/shipped.py`)."""

from setuptools import find_packages, setup

SHIPPED = {
    "config": ["**"],
    "envs": ["rlsp.yaml"],
    "notebooks": ["*.ipynb"],
    "profiles": ["**"],
    "results": ["reference/training-rate/**"],
    "workflow": ["**"],
}

setup(
    packages=[*find_packages(include=["rlsp*"]), *(f"rlsp.share.{folder}" for folder in SHIPPED)],
    package_dir={f"rlsp.share.{folder}": folder for folder in SHIPPED},
    package_data={
        "rlsp": ["py.typed"],
        "rlsp.config.manifests": ["*.csv"],
        "rlsp.reporting": ["*.csv"],
        "rlsp.reporting.claims": ["*.yaml"],
        **{f"rlsp.share.{folder}": patterns for folder, patterns in SHIPPED.items()},
    },
)
