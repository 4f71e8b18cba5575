import pytest
from made_trainings import made_clips, write_clips


@pytest.fixture
def manifests(tmp_path):
    """Manifests of made clips, as `rlsp.training.train` takes them."""
    sides = zip(("lr", "hr"), made_clips(), strict=True)
    lr, hr = (write_clips(tmp_path / kind, clips) for kind, clips in sides)
    return {"lr_manifests": [lr], "hr_manifests": [hr]}
