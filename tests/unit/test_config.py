import copy

import pytest
import yaml

from rlsp.config.checks import neighbours
from rlsp.config.schema import CATALOGUE, ROOT, fill_defaults, read_config
from rlsp.config.study import Study, check_owner, record_owner, study_files
from rlsp.errors import ConfigError


@pytest.fixture
def demo():
    return read_config(ROOT / "config" / "demo.yaml")


def changed(config, path, value):
    """Copy a configuration with one value set, or taken out where it is None."""
    config = copy.deepcopy(config)
    place = config
    *parents, last = path
    for key in parents:
        place = place[key]
    place[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["reicpes"], {}, "reicpes: unknown key; did you mean recipes"),
        (["recipes", "demo", "step"], 5, "recipes.demo.step: unknown key; did you mean steps"),
        (["models", "rlsp-3-16", "filers"], 5, "models.rlsp-3-16.filers: unknown key; did you mean filters"),
        (["models", "rlsp-3-16", "filters"], "16", "models.rlsp-3-16.filters: expected integer, got '16'"),
        (
            ["recipes", "demo", "learning_rate"],
            "1e-3",
            "recipes.demo.learning_rate: expected number.*write 0.001",
        ),
        (
            ["recipes", "demo", "schedule"],
            "linear",
            "recipes.demo.schedule: expected one of constant, cosine",
        ),
        (["study"], "../evil", "study: name '../evil' does not fit"),
        (["study"], "a/b", "study: name 'a/b' does not fit"),
        (["study"], "Demo", "study: name 'Demo' does not fit"),
        (["models", "a..b"], {"arch": "rlsp"}, "models: name 'a..b' does not fit"),
        (["datasets", "x/y"], {"source": "folder", "path": "p"}, "datasets: name 'x/y' does not fit"),
        (["datasets", "own"], {"source": "floder", "path": "p"}, "datasets.own.source: expected one of"),
        (["datasets", "own"], {"source": "folder"}, "datasets.own.path: missing"),
        (["datasets", "own"], {"source": "camera-moves"}, "datasets.own: .*photographs .*path .*got neither"),
        (["datasets", "moves-test", "path"], "p", "datasets.moves-test: .*photographs .*path .*got both"),
        (["datasets", "moves-test", "varied_clips"], "every", "varied_clips: text 'every' does not fit"),
        (["datasets", "moves-test", "varied_clips"], -1, "moves-test.varied_clips: .*minimum"),
        (["datasets", "moves-test", "varied_speed"], "fast", "varied_speed: expected number, got 'fast'"),
        (["models", "own"], {"arch": "rslp"}, "models.own.arch: text 'rslp' does not fit"),
        (["degradations", "g"], {"kind": "gaussian", "sigma": 0}, "degradations.g.sigma: .*minimum"),
        (["runs", 0, "models"], ["rlsp-9-9"], "runs .*models: unknown name 'rlsp-9-9'; .*known: "),
        (["runs", 0, "recipe"], "dmeo", "recipe: unknown name 'dmeo'; did you mean demo"),
        (["runs", 0, "degradations"], ["blur"], "degradations: unknown name 'blur'"),
        (["runs", 0, "seed"], [1], "runs.0.seed: unknown key; did you mean seeds"),
        (["test_sets"], ["vid5"], "test_sets: unknown name 'vid5'; did you mean vid4"),
        (["test_sets"], ["moves-train"], "train set moves-train and test set moves-train share"),
        (["headline_protocol"], "best", "headline_protocol: unknown name 'best'"),
        (
            ["protocols", "crop8-all-frame", "crop"],
            4,
            r"crop8-all-frame.crop: expected one of score.crops \[0, 8\]",
        ),
        (["ablation"], ["full"], "ablation: unknown name 'full'"),
        (["recipes", "demo", "crop"], 41, "recipes.demo.crop: expected at most 40 LR pixels.*got 41"),
        (["recipes", "demo", "frames"], 15, "recipes.demo.frames: expected at most 14.*got 15"),
        (
            ["recipes", "demo", "checkpoint_every"],
            30,
            "checkpoint_every: expected a multiple of log_every 20",
        ),
        (
            ["degradations", "gaussian", "phase"],
            7,
            "degradations.gaussian.phase: expected below the scale 4, got 7",
        ),
        (
            ["score"],
            {"crops": [0, 8, 80]},
            "score.crops: expected at most 74, .*moves-test are 160x160, got 80",
        ),
        (
            ["protocols", "crop8-all-frame", "trim"],
            [8, 8],
            "protocols: expected trims below the 16 frames .*got 16",
        ),
        (["recipes", "demo", "learning_rate"], float("nan"), "learning_rate: expected a finite number"),
        (["datasets", "city-test", "download"], "town", "datasets.city-test.download: unknown name 'town'"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_key(demo, path, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Study(changed(demo, path, value))
    assert "\n" not in str(caught.value)


def test_runs_are_expanded_in_one_place(demo):
    config = changed(demo, ["runs", 0, "seeds"], [0, 1])
    study = Study(changed(config, ["runs", 0, "degradations"], ["gaussian", "bicubic"]))
    assert len(study.runs) == 7 * 2 * 2 + 1
    assert study.runs["rlsp-3-32.bicubic.s1"].seed == 1
    assert study.runs["bicubic.gaussian"].kind == "interpolation"


def test_same_run_twice_is_refused(demo):
    with pytest.raises(ConfigError, match="run rlsp-3-16.gaussian.s0 is there already; give the entry a tag"):
        Study(changed(demo, ["runs"], [demo["runs"][0], demo["runs"][0]]))


def test_runs_from_elsewhere(demo):
    entries = [
        {"name": "mine", "frames": "some/folder", "degradations": ["bicubic"]},
        {"name": "tuned", "weights": "my/model.safetensors", "degradations": ["gaussian"]},
        {
            "name": "duf",
            "frames": "released:duf-52l",
            "degradations": ["gaussian-1.6"],
            "test_sets": ["vid4"],
        },
    ]
    study = Study(changed(demo, ["runs"], demo["runs"] + entries))
    assert [(study.runs[r].kind, study.runs[r].origin) for r in ("mine.bicubic", "tuned.gaussian")] == [
        ("frames", "external"),
        ("weights", "external"),
    ]
    assert study.runs["duf.gaussian-1.6"].test_sets == ("vid4",)
    assert str(study.weights("tuned.gaussian")) == "my/model.safetensors"


def test_defaults_come_from_the_schema_at_every_depth(demo):
    config = fill_defaults(demo)
    assert config["scale"] == 4
    assert config["score"]["crops"] == [0, 8]
    assert config["recipes"]["paper"]["schedule"] == "constant"
    assert config["degradations"]["gaussian"]["truncate"] == 4.0
    assert config["models"]["rlsp-7-64"]["output"] == "y"
    assert config["datasets"]["moves-test"]["pan"] == [1.0, 0.25]
    assert config["runs"][0]["seeds"] == [0]


def test_a_training_depends_on_its_own_entries_only(demo):
    before = Study(demo).training("rlsp-3-16.gaussian.s0")
    more = changed(demo, ["models", "rlsp-9-9"], {"arch": "rlsp", "layers": 9, "filters": 9})
    more = changed(more, ["protocols", "crop0-all-frame", "trim"], [1, 1])
    assert Study(more).training("rlsp-3-16.gaussian.s0") == before
    other = changed(demo, ["recipes", "demo", "steps"], 700)
    assert Study(other).training_folder("rlsp-3-16.gaussian.s0") != Study(demo).training_folder(
        "rlsp-3-16.gaussian.s0"
    )


def test_paper_recipe_is_the_papers(demo):
    """Batch, length, crop, rate and steps are those of the released train.py."""
    recipe = fill_defaults(demo)["recipes"]["paper"]
    expected = {"steps": 10**6, "batch": 4, "crop": 64, "frames": 10, "learning_rate": 0.0001, "schedule": "constant",
                "init": "glorot-uniform", "input_range": 255, "clip_norm": None, "context": "real"}  # fmt: skip
    assert {key: recipe[key] for key in expected} == expected


def test_neighbours_are_those_of_the_built_models(demo):
    from rlsp.models import build_model

    frames_only = {"arch": "rlsp", "layers": 2, "filters": 4, "adjacent": False}
    for spec in [*fill_defaults(demo)["models"].values(), frames_only]:
        small = {**spec, "filters": 4, **({"layers": 10} if spec["arch"] == "duf" else {})}
        model = build_model(small)
        assert neighbours(spec) == (model.look_behind, model.look_ahead), spec
    assert neighbours({"arch": "my.module:Model"}) == (0, 0)


@pytest.mark.parametrize(("model", "longest"), [("rlsp-7-64", 14), ("frvsr-3-64", 16), ("duf-16l", 10)])
def test_a_crop_fits_the_clips_with_the_neighbours_of_its_model(demo, model, longest):
    config = changed(demo, ["runs", 0, "models"], [model])
    config = changed(changed(config, ["ablation"], []), ["reference_model"], None)
    Study(changed(config, ["recipes", "demo", "frames"], longest))
    with pytest.raises(ConfigError, match=f"recipes.demo.frames: expected at most {longest}, as the clips"):
        Study(changed(config, ["recipes", "demo", "frames"], longest + 1))
    context = changed(config, ["recipes", "demo", "context"], "replicate")
    Study(changed(context, ["recipes", "demo", "frames"], 16))


def test_peers_are_trainable_by_their_recipes(demo):
    config = changed(demo, ["runs"], [
        {"models": [f"{arch}-{size}"], "recipe": arch, "train_set": "mine", "degradations": ["gaussian"]}
        for arch, size in (("frvsr", "10-128"), ("duf", "52l"))
    ])  # fmt: skip
    config = changed(changed(config, ["ablation"], []), ["reference_model"], None)
    study = Study(changed(config, ["datasets", "mine"], {"source": "folder", "path": "my/clips"}))
    spec = study.training("duf-52l.gaussian.s0")
    assert (spec["model"]["border"], spec["recipe"]["init"]) == (0, "he-normal")
    assert study.training("frvsr-10-128.gaussian.s0")["model"]["max_flow"] == 24
    with pytest.raises(ConfigError, match="scale: expected 2, 4 or 8, as frvsr-10-128 doubles sizes, got 3"):
        Study(changed(study.config, ["scale"], 3))


def test_models_can_be_left_out_of_the_timing(demo):
    config = changed(demo, ["runtime"], {"skip": ["rlsp-3-16", "bicubic"]})
    assert set(Study(demo).timed_models()) - set(Study(config).timed_models()) == {"rlsp-3-16", "bicubic"}
    with pytest.raises(ConfigError, match="runtime.skip: unknown name 'duf-52'; did you mean duf-52l"):
        Study(changed(demo, ["runtime"], {"skip": ["duf-52"]}))


def test_models_without_runs_can_be_timed(demo):
    config = changed(demo, ["runtime"], {"also": ["frvsr-3-64"], "sweep": "rlsp-3-16"})
    assert set(Study(config).timed_models()) - set(Study(demo).timed_models()) == {"frvsr-3-64"}
    assert Study(config).swept_model()["filters"] == 16
    assert [path.name for path in Study(config).sweeps()] == ["cpu-sweep.csv"]
    assert (Study(demo).swept_model(), Study(demo).sweeps()) == (None, [])
    released = Study.from_file(ROOT / "config" / "released.yaml")
    assert {"rlsp-7-256", "frvsr-10-128", "duf-16l", "duf-28l", "duf-52l"} <= set(released.timed_models())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": "full"}, "runtime.sizes: unknown name 'full'"),
        ({"sizes": ["8k"]}, "runtime.sizes: unknown name '8k'; known: 360p, 4k"),
        (
            {"sizes": [[4, 90]]},
            r"runtime.sizes: expected height and width of at least 8 LR pixels, got \[4, 90\]",
        ),
        ({"sizes": [[90]]}, "runtime.sizes: expected height and width"),
        ({"also": ["frvsr-9"]}, "runtime.also: unknown name 'frvsr-9'"),
        ({"sweep": "frvsr-9"}, "runtime.sweep: unknown name 'frvsr-9'"),
        ({"sweep": "frvsr-3-64"}, "runtime.sweep: expected a model with layers, got frvsr-3-64"),
        ({"seconds": 0}, "runtime.seconds"),
    ],
)
def test_mistakes_about_timing_are_named(demo, changes, message):
    with pytest.raises(ConfigError, match=message):
        Study(changed(demo, ["runtime"], changes))


def test_runs_whose_precisions_are_compared_have_weights(demo):
    config = changed(demo, ["precisions"], {"runs": ["rlsp-3-16.gaussian.s0"]})
    compared = Study(config).compared_precisions()["rlsp-3-16.gaussian.s0"]
    assert compared["weights"].endswith("model.safetensors")
    assert set(compared["clips"]) == {"moves-test", "city-test"}
    assert Study(demo).precisions() == [] and Study(config).precisions()[0].name == "precisions.csv"
    with pytest.raises(ConfigError, match="precisions.runs: unknown name 'bicubic.gaussian'"):
        Study(changed(demo, ["precisions"], {"runs": ["bicubic.gaussian"]}))


def test_results_of_another_study_file_are_not_touched(demo, tmp_path):
    study = Study(demo, results=tmp_path)
    check_owner(study, ["config/demo.yaml"])
    record_owner(study, ["config/demo.yaml"])
    check_owner(study, ["config/demo.yaml"])
    with pytest.raises(
        ConfigError, match="holds the results of config/demo.yaml, and mine.yaml has the same name"
    ):
        check_owner(study, ["mine.yaml"])


def test_study_files_do_not_depend_on_where_the_folder_lies(tmp_path, monkeypatch):
    files = [
        str(ROOT / "config" / "catalogue.yaml"),
        str(ROOT / "config" / "demo.yaml"),
        str(tmp_path / "x.yaml"),
    ]
    monkeypatch.chdir(ROOT)
    assert study_files(files) == [str(tmp_path / "x.yaml"), "config/demo.yaml"]
    monkeypatch.chdir(tmp_path)
    assert study_files(files) == ["config/demo.yaml", "x.yaml"]


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_files_that_are_no_map(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="study.yaml: "):
        read_config(file)
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "none.yaml")


STUDY_FILES = [file for file in sorted((ROOT / "config").glob("*.yaml")) if file != CATALOGUE]


@pytest.mark.parametrize("file", STUDY_FILES, ids=lambda file: file.stem)
def test_every_study_file_is_valid_and_named_after_its_study(file):
    assert Study.from_file(file).name == file.stem
    assert yaml.safe_load(file.read_text())["study"] == file.stem


def test_a_changed_file_below_a_folder_is_seen(demo, tmp_path):
    """The time of a folder does not change when a picture in a sub-folder is written again."""
    picture = tmp_path / "clip" / "0.png"
    picture.parent.mkdir()
    picture.write_bytes(b"one")
    study = Study(demo)
    before = study.state_of_folders([tmp_path])
    assert study.state_of_folders([tmp_path]) == before
    picture.write_bytes(b"three")
    assert study.state_of_folders([tmp_path]) != before


def test_sets_of_photographs_are_packed_from_their_folder(demo, tmp_path):
    own = {"source": "camera-moves", "path": str(tmp_path), "varied_clips": "all"}
    study = Study(changed(demo, ["datasets", "own"], own))
    assert study.files_of("own") == [tmp_path] and study.files_of("moves-test") == []
    test_set = changed(changed(demo, ["datasets", "own"], own), ["datasets", "own-test"], own)
    with pytest.raises(ConfigError, match=f"train set own and test set own-test share {tmp_path}"):
        Study(changed(changed(test_set, ["test_sets"], ["own-test"]), ["runs", 0, "train_set"], "own"))


def test_a_changed_download_is_another_data_set(demo):
    other = changed(demo, ["downloads", "city", "sha256"], "0" * 64)
    assert Study(other).clips("city-test") != Study(demo).clips("city-test")
    elsewhere = changed(demo, ["downloads", "vid4", "base_url"], "http://mirror")
    assert Study(elsewhere).clips("vid4") == Study(demo).clips("vid4")


def test_one_shot_is_for_training_or_for_testing(demo):
    """Frames 0-15 and 40-55 are different frames of the same shot; 150-165 are of another one."""
    cut = {"source": "video", "download": "city", "shots": {"a": [0, 15]}}
    config = changed(demo, ["datasets", "city-train"], cut)
    recipe = changed(config, ["recipes", "demo", "frames"], 4)
    with pytest.raises(ConfigError, match="train set city-train and test set city-test share city"):
        Study(changed(recipe, ["runs", 0, "train_set"], "city-train"))
    apart = changed(recipe, ["datasets", "city-test", "shots"], {"b": [150, 165]})
    assert Study(changed(apart, ["runs", 0, "train_set"], "city-train")).runs


def test_interpolation_is_restored_on_the_cpu_in_fp32(demo):
    """Whatever the study restores its models in: a processor need not have it."""
    study = Study(demo | {"device": "cuda", "restore": {"precision": "tf32"}})
    (bicubic,) = study.runs_of("interpolation")
    trained = study.runs_of("trained")[0].id
    asked = [
        (study.restoring_device(run), study.restoring_precision(run), study.restoring_gpus(run))
        for run in (bicubic.id, trained)
    ]
    assert asked == [("cpu", "fp32", 0), ("cuda", "tf32", 1)]
    assert study.restored_from(bicubic.id) == [] and study.restored_from(trained) == [study.weights(trained)]


# ---- places on a GPU ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "batch", "places", "training_gpus", "gpus"),
    [
        ({}, 4, 1, 1, 1),
        ({"runs_per_gpu": 3}, 4, 3, 1, 3),
        ({"runs_per_gpu": "auto"}, 4, 4, 1, 4),
        ({"runs_per_gpu": "auto"}, 64, 1, 1, 1),
        ({"runs_per_gpu": "auto", "processes": 2}, 4, 1, 2, 1),
        ({"runs_per_gpu": 2, "processes": 2}, 4, 2, 4, 2),
    ],
)
def test_resources_count_places_on_gpus(training, batch, places, training_gpus, gpus):
    """A job that wants a GPU alone asks for all places of it, a training for one."""
    config = read_config(ROOT / "config" / "demo.yaml")
    config = {**config, "device": "cuda", "training": training}
    config["recipes"]["demo"] |= {"batch": batch, "crop": 36}
    study = Study(config)
    assert (study.places, study.training_gpus, study.gpus) == (places, training_gpus, gpus)
    cpu = Study({**config, "device": "cpu"})
    assert (cpu.training_gpus, cpu.gpus) == (0, 0)
