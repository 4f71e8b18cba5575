import copy
import json

import pytest
import yaml

from rlsp.config.keys import json_schema, list_keys
from rlsp.config.resources import (
    gpu_places,
    gpus,
    shared_places,
    training_gpus,
    training_places,
    training_threads,
)
from rlsp.config.specs.datasets import parse_dataset
from rlsp.config.specs.facts import Facts
from rlsp.config.specs.models import parse_model
from rlsp.config.specs.study import StudySpec
from rlsp.config.study import Study
from rlsp.config.study_files import CATALOGUE, check_owner, read_config, record_owner, study_files
from rlsp.errors import ConfigError
from rlsp.files import state_of_folders
from rlsp.shipped import ROOT

OWN_METRIC = {"function": "mine:sharpness", "kind": "frame", "inputs": ["restored"], "better": "higher"}


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
        (["models", "rlsp-3-16", "layers"], 1, "models.rlsp-3-16.layers: expected a minimum of 2, got 1"),
        (["models", "rlsp-3-16", "adjacent"], "no", "models.rlsp-3-16.adjacent: expected boolean, got 'no'"),
        (["models", "rlsp-3-16", "filters"], 1e300, "filters: expected a maximum of 65536"),
        (["models", "rlsp-3-16", "filters"], 16.5, "filters: expected integer, got 16.5"),
        (["models", "rlsp-3-16", "filters"], float("inf"), "filters: expected a finite number, got inf"),
        (["models", "rlsp-3-16"], [1], r"models.rlsp-3-16: expected object, got \[1\]"),
        (
            ["models", "rlsp-3-16", "arch"],
            ["rlsp"],
            r"models.rlsp-3-16.arch: expected string, got \['rlsp'\]",
        ),
        (["recipes", "demo", "augment"], ["flip", "turn"], "augment.1: expected one of flip, .*got 'turn'"),
        (["recipes", "demo", "augment"], ["flip", "flip"], "recipes.demo.augment: expected each once"),
        (
            ["recipes", "demo", "long_clips"],
            {"after": 2, "frames": 9, "batch": 1},
            "after: expected a maximum of 1",
        ),
        (["recipes", "demo", "threads"], 10**6, "recipes.demo.threads: expected a maximum of 1024"),
        (
            ["recipes", "demo", "keep"],
            "best",
            "recipes.demo.keep: expected last, as the recipe does not validate",
        ),
        (
            ["degradations", "gaussian", "kind"],
            "gausian",
            "degradations.gaussian.kind: expected one of bicubic, gaussian, package.module:function, got 'gausian'",
        ),
        (["degradations", "gaussian", "rounding"], 1, "rounding: expected one of rint, truncate, got 1"),
        (["downloads", "city", "sha256"], "00", "downloads.city.sha256: text '00' does not fit"),
        (["downloads", "vid4", "kind"], None, "downloads.vid4.kind: (missing|expected one of)"),
        (["datasets", "city-test", "shots"], {"a": [5]}, "datasets.city-test.shots.a: expected"),
        (
            ["datasets", "moves-test", "seed"],
            2**40,
            "datasets.moves-test.seed: expected a maximum of 4294967295",
        ),
        (
            ["datasets", "own"],
            {"source": "folder", "path": "a\0b"},
            "datasets.own.path: .*without control characters",
        ),
        (["datasets", "reds4", "clips"], ["0000000-9999999"], "reds4.clips: expected at most 100000 clips"),
        (["protocols", "crop8-all-frame", "trim"], [1], "protocols.crop8-all-frame.trim: expected"),
        (["protocols", "crop8-all-frame", "chanel"], "y", "chanel: unknown key; did you mean channel"),
        (
            ["protocols", "crop8-all-frame", "channel"],
            "yuv",
            "channel: expected one of y, rgb, y-of-rgb, got 'yuv'",
        ),
        (
            ["protocols", "crop8-all-frame", "average"],
            "mean",
            "average: expected one of frame, video, got 'mean'",
        ),
        (["protocols", "crop8-all-frame", "trim"], [-1, 0], "trim.0: expected a minimum of 0, got -1"),
        (["protocols", "crop8-all-frame", "crop"], 1.5, "crop: expected integer, got 1.5"),
        (["models", "own"], {}, "^models.own.arch: missing$"),
        (["degradations", "own"], {"sigma": 1}, "^degradations.own.kind: missing"),
        (
            ["degradations", "own"],
            {"kind": ["gaussian"]},
            "degradations.own.kind: expected one of bicubic, gaussian",
        ),
        (["degradations", "own"], {"kind": "a:b"}, "degradations.own.first_pixel: missing"),
        (["degradations", "own"], {"kind": "a b:c", "first_pixel": 0}, "own.kind: text 'a b:c' does not fit"),
        (
            ["degradations", "own"],
            {"kind": "a:b", "first_pixel": 4.5},
            "degradations.own.first_pixel: expected below the scale 4, got 4.5",
        ),
        (
            ["metrics"],
            {"own": OWN_METRIC | {"function": "mine"}},
            "metrics.own.function: text 'mine' does not fit",
        ),
        (
            ["metrics"],
            {"own": OWN_METRIC | {"kind": "frames"}},
            "metrics.own.kind: expected one of frame, pair, clip",
        ),
        (
            ["metrics"],
            {"own": OWN_METRIC | {"inputs": ["reference", "truth"]}},
            "metrics.own.inputs.1: expected one of reference, .*, got 'truth'",
        ),
        (
            ["metrics"],
            {"own": OWN_METRIC | {"inputs": ["previous", "reference"]}},
            "metrics.own.inputs: expected inputs of a frame: reference, .*; got previous",
        ),
        (["metrics"], {"own": OWN_METRIC | {"inputs": []}}, "metrics.own.inputs: expected at least 1"),
        (
            ["metrics"],
            {"own": OWN_METRIC | {"better": "less"}},
            "metrics.own.better: expected one of higher, lower",
        ),
        (["metrics"], {"own": {}}, "metrics.own.(better|function): missing"),
        (
            ["metrics"],
            {"own": OWN_METRIC | {"decimal": 2}},
            "own.decimal: unknown key; did you mean decimals",
        ),
        (
            ["metrics"],
            {"own": OWN_METRIC | {"factor": 0}},
            "metrics.own.factor: expected more than the minimum 0",
        ),
        (["metrics"], {"Own": OWN_METRIC}, "metrics: name 'Own' does not fit .* lower-case letter, then"),
        (["metrics"], {"own-metric": OWN_METRIC}, "metrics: name 'own-metric' does not fit"),
        (["metrics"], {"tof": OWN_METRIC}, "metrics.tof: expected another name, that of a column is taken"),
        (["metrics"], {"frame": OWN_METRIC}, "metrics.frame: expected another name"),
        (["metrics"], {"ssim": OWN_METRIC}, "metrics.ssim: expected another name"),
        (["metrics"], {"own_std": OWN_METRIC}, "metrics.own_std: expected another name"),
        (["metrics"], {"own": OWN_METRIC, "own_y": OWN_METRIC}, "metrics.own_y: expected another name"),
        (["runs", 0, "models"], [], "runs.0.models: expected at least 1 entries"),
        (
            ["runs", 1],
            {"interpolation": "nearest", "degradations": ["gaussian"]},
            "interpolation: expected one of bicubic",
        ),
        (["runs", 1], "bicubic", "runs.1: expected object, got 'bicubic'"),
        (["runs"], [], "runs: expected at least 1 entries"),
        (["data_root"], "", "data_root: expected 1 to 4096 characters"),
        (
            ["datasets", "moves-tets"],
            {"frames": 9},
            "moves-tets.source: missing; did you mean datasets.moves-test",
        ),
        (
            ["recipes", "demo", "steps"],
            "x" * 10**6,
            r"recipes.demo.steps: expected integer, got 'x{79}\.\.\. \(YAML",
        ),
        (["device"], "gpu", "device: expected one of auto, cpu, cuda, got 'gpu'"),
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


def test_defaults_come_from_the_specs_at_every_depth(demo):
    spec = StudySpec.read(demo)
    assert spec.scale == 4
    assert spec.score.crops == (0, 8)
    assert spec.recipes["paper"].schedule == "constant"
    assert spec.degradations["gaussian"].truncate == 4.0
    assert spec.models["rlsp-7-64"].output == "y"
    assert spec.datasets["moves-test"].pan == (1.0, 0.25)
    assert spec.runs[0].seeds == (0,)


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
    recipe = StudySpec.read(demo).recipes["paper"]
    expected = {"steps": 10**6, "batch": 4, "crop": 64, "frames": 10, "learning_rate": 0.0001, "schedule": "constant",
                "init": "glorot-uniform", "input_range": 255, "clip_norm": None, "context": "real"}  # fmt: skip
    assert {key: getattr(recipe, key) for key in expected} == expected


def test_neighbours_are_those_of_the_built_models(demo):
    from rlsp.models import build_model

    frames_only = parse_model({"arch": "rlsp", "layers": 2, "filters": 4, "adjacent": False})
    for spec in [*StudySpec.read(demo).models.values(), frames_only]:
        small = spec.changed(filters=4, **({"layers": 10} if spec.arch == "duf" else {}))
        model = build_model(small)
        assert spec.neighbours == (model.look_behind, model.look_ahead), spec
    assert parse_model({"arch": "my.module:Model"}).neighbours == (0, 0)


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
    config = changed(config, ["datasets", "mine"], {"source": "folder", "path": "my/clips"})
    study = Study(config)
    spec = study.training("duf-52l.gaussian.s0")
    assert (spec.model.border, spec.recipe.init) == (0, "he-normal")
    assert study.training("frvsr-10-128.gaussian.s0").model.max_flow == 24
    with pytest.raises(ConfigError, match="scale: expected 2, 4 or 8, as frvsr-10-128 doubles sizes, got 3"):
        Study(changed(config, ["scale"], 3))


def test_models_can_be_left_out_of_the_timing(demo):
    config = changed(demo, ["runtime"], {"skip": ["rlsp-3-16", "bicubic"]})
    assert set(Study(demo).timed_models()) - set(Study(config).timed_models()) == {"rlsp-3-16", "bicubic"}
    with pytest.raises(ConfigError, match="runtime.skip: unknown name 'duf-52'; did you mean duf-52l"):
        Study(changed(demo, ["runtime"], {"skip": ["duf-52"]}))


def test_models_without_runs_can_be_timed(demo):
    config = changed(demo, ["runtime"], {"also": ["frvsr-3-64"], "sweep": "rlsp-3-16"})
    assert set(Study(config).timed_models()) - set(Study(demo).timed_models()) == {"frvsr-3-64"}
    assert Study(config).spec.runtime.sweep == "rlsp-3-16" and Study(demo).spec.runtime.sweep is None
    assert Study(config).runtime("sweep").name == "cpu-sweep.csv"
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
    Study(changed(demo, ["precisions"], {"runs": ["rlsp-3-16.gaussian.s0"]}))
    with pytest.raises(ConfigError, match="precisions.runs: unknown name 'bicubic.gaussian'"):
        Study(changed(demo, ["precisions"], {"runs": ["bicubic.gaussian"]}))


def test_results_of_another_study_file_are_not_touched(demo, tmp_path):
    study = Study(demo, results=tmp_path).paths.results
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


def test_a_changed_file_below_a_folder_is_seen(tmp_path):
    """The time of a folder does not change when a picture in a sub-folder is written again."""
    picture = tmp_path / "clip" / "0.png"
    picture.parent.mkdir()
    picture.write_bytes(b"one")
    before = state_of_folders([tmp_path])
    assert state_of_folders([tmp_path]) == before
    picture.write_bytes(b"three")
    assert state_of_folders([tmp_path]) != before


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
        (study.restoring_device(run), study.restoring_precision(run), gpus(study, run))
        for run in (bicubic.id, trained)
    ]
    assert asked == [("cpu", "fp32", 0), ("cuda", "tf32", 1)]
    assert study.restored_from(bicubic.id) == [] and study.restored_from(trained) == [study.weights(trained)]


# ---- places on a GPU ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "batch", "shared", "of_training", "alone"),
    [
        ({}, 4, 1, 1, 1),
        ({"runs_per_gpu": 3}, 4, 3, 1, 3),
        ({"runs_per_gpu": "auto"}, 4, 4, 1, 4),
        ({"runs_per_gpu": "auto"}, 64, 1, 1, 1),
        ({"runs_per_gpu": "auto", "processes": 2}, 4, 1, 2, 1),
        ({"runs_per_gpu": 2, "processes": 2}, 4, 2, 4, 2),
    ],
)
def test_resources_count_places_on_gpus(training, batch, shared, of_training, alone):
    """A job that wants a GPU alone asks for all places of it, a training for one."""
    config = read_config(ROOT / "config" / "demo.yaml")
    config = {**config, "device": "cuda", "training": training}
    config["recipes"]["demo"] |= {"batch": batch, "crop": 36}
    study = Study(config)
    run = "rlsp-3-16.gaussian.s0"
    assert (shared_places(study), training_places(study, run), gpu_places(study)) == (
        shared,
        of_training,
        alone,
    )
    assert (training_gpus(study), gpus(study)) == (study.spec.training.processes, 1)
    cpu = Study({**config, "device": "cpu"})
    assert (training_places(cpu, run), gpu_places(cpu), training_gpus(cpu), gpus(cpu)) == (0, 0, 0, 0)
    assert training_threads(study, run) == study.spec.training.processes


def test_a_training_that_fills_a_gpu_asks_for_all_of_it(demo):
    """Beside smaller ones that share one: it would wait inside its job for a lock on the whole GPU."""
    large = {**demo["runs"][0], "models": ["rlsp-3-16"], "recipe": "large", "tag": "large"}
    config = {**demo, "device": "cuda", "training": {"runs_per_gpu": "auto"}, "runs": [*demo["runs"], large]}
    config = changed(config, ["recipes", "large"], {**demo["recipes"]["demo"], "batch": 256})
    study = Study(config)
    asked = [training_places(study, run) for run in ("rlsp-3-16.gaussian.s0", "rlsp-3-16.large.gaussian.s0")]
    assert (shared_places(study), asked) == (4, [1, 4])


# ---- what is written in study files --------------------------------------------------------------------


def plain(spec):
    """Fields of a spec in the order that its plain form has them."""
    return [name for name in type(spec).model_fields if name not in spec.LEFT_OUT]


def test_plain_forms_have_a_fixed_order_whatever_the_order_in_the_file(demo):
    """Snakemake compares params by their text."""
    turned = copy.deepcopy(demo)
    for section in ("models", "recipes", "datasets", "degradations"):
        for name, entry in turned[section].items():
            turned[section][name] = dict(reversed(entry.items()))
    run = "frames-only.gaussian.s0"
    assert repr(Study(turned).training(run).dump()) == repr(Study(demo).training(run).dump())
    training = Study(demo).training(run)
    assert list(training.recipe.changed(optimizer="adam", carry_scale=1).dump()) == plain(training.recipe)


def test_keys_that_were_added_are_left_out_while_they_have_their_default(demo):
    """So that no folder is renamed."""
    explicit = changed(demo, ["recipes", "demo", "optimizer"], "adam")
    explicit = changed(explicit, ["recipes", "demo", "carry_scale"], 1)
    before = copy.deepcopy(explicit)
    for key in ("optimizer", "carry_scale"):
        del before["recipes"]["demo"][key]
    run = "rlsp-3-16.gaussian.s0"
    assert "optimizer" not in Study(explicit).training(run).dump()["recipe"]
    assert Study(explicit).training_folder(run) == Study(before).training_folder(run)
    assert Study(explicit).training_folder(run) != Study(demo).training_folder(run)


def test_measures_of_the_users_own_are_params_of_scores_as_far_as_they_decide_them(demo):
    study = Study(demo | {"metrics": {"own": OWN_METRIC | {"label": "sharpness", "decimals": 1}}})
    assert study.own_metrics() == {"own": OWN_METRIC}
    assert list(study.own_metrics()["own"]) == ["function", "kind", "inputs", "better"]
    assert study.code_of_metrics() == ["mine"]
    told = Facts.read(study.facts()).metrics["own"]
    assert (told.label, told.decimals, told.trim) == ("sharpness", 1, None)


def test_a_study_without_measures_of_its_own_is_as_before(demo):
    study = Study(demo)
    assert "metrics" not in study.spec.dump() and "metrics" not in study.facts()
    assert study.own_metrics() == {} and study.code_of_metrics() == []
    assert study.code_of_degradation("gaussian") == []


def test_a_degradation_of_the_users_own_is_resolved_with_its_arguments(demo):
    own = {"kind": "mine.blur:blur", "strength": 3, "first_pixel": 1.5, "shape": "disc"}
    study = Study(changed(demo, ["degradations", "own"], own))
    expected = {"kind": "mine.blur:blur", "first_pixel": 1.5, "scale": 4, "shape": "disc", "strength": 3}
    turned = Study(changed(demo, ["degradations", "own"], dict(reversed(own.items()))))
    for of in (study, turned):
        assert repr(of.degradation("own").dump()) == repr(expected)
    assert study.degradation("own").arguments() == {"scale": 4, "shape": "disc", "strength": 3}
    assert study.code_of_degradation("own") == ["mine.blur"]
    stronger = Study(changed(demo, ["degradations", "own"], own | {"strength": 4}))
    assert stronger.degradation_folders["own"] != study.degradation_folders["own"]


def test_numbers_are_kept_as_they_are_written(demo):
    """Hashes are made of their text: 255 and 255.0 are the same number in two folders."""
    assert repr(StudySpec.read(demo).recipes["paper"].dump()["input_range"]) == "255"
    assert repr(StudySpec.read(demo).degradations["bicubic"].dump()) == repr(
        {"kind": "bicubic", "boundary": "symmetric", "round_between_passes": True, "scale": 4}
    )


def test_a_whole_number_may_be_written_as_a_float(demo):
    recipe = StudySpec.read(changed(demo, ["recipes", "demo", "steps"], 1.5e3)).recipes["demo"]
    assert repr(recipe.steps) == "1500"


def test_what_a_study_fills_in_is_no_key_of_a_file(demo):
    for path, value in (
        (["models", "rlsp-3-16", "scale"], 2),
        (["degradations", "gaussian", "scale"], 2),
        (["datasets", "city-test", "files"], "12345678"),
        (["downloads", "vid4", "first_frames"], 3),
    ):
        with pytest.raises(ConfigError, match=f"{'.'.join(path)}: unknown key; "):
            Study(changed(demo, path, value))


def test_test_clips_do_not_leak_through_first_weights(demo):
    """A run that begins with the weights of another has seen what that one has seen."""
    base = {**demo["runs"][0], "models": ["rlsp-3-16"], "train_set": "moves-test", "test_sets": ["city-test"]}
    warm = {**base, "train_set": "moves-train", "test_sets": ["moves-test"], "tag": "warm"}
    warm["start_from"] = "rlsp-3-16.gaussian.s0"
    config = {**demo, "runs": [base, warm], "ablation": [], "reference_model": None}
    with pytest.raises(ConfigError, match=r"warm.*train set moves-test and test set moves-test share"):
        Study(config)


def test_clips_are_held_out_only_where_something_is_validated(demo):
    config = changed(demo, ["runs", 0, "validation_clips"], 3)
    with pytest.raises(ConfigError, match="validation_clips: expected a recipe that validates, demo has no"):
        Study(config)


def test_the_schema_for_editors_is_that_of_the_specs():
    """And every file says where it is; `rlsp keys --schema` writes it."""
    jsonschema = pytest.importorskip("jsonschema")
    text = (ROOT / "config" / "study.schema.json").read_text()
    assert text == json_schema()
    check = jsonschema.Draft202012Validator(json.loads(text))
    for file in (*STUDY_FILES, CATALOGUE):
        assert file.read_text().startswith("# yaml-language-server: $schema=study.schema.json\n")
        config = {"study": "any"} | yaml.safe_load(file.read_text())
        own = {"own": {"kind": "a:b", "first_pixel": 0, "x": 1}}
        config |= {"metrics": {"own": OWN_METRIC}, "degradations": config.get("degradations", {}) | own}
        assert not list(check.iter_errors(config))
    for path, value in (
        (["reicpes"], {}),
        (["models", "rlsp-3-16", "filters"], "16"),
        (["runs", 0, "seed"], 1),
        (["metrics"], {"own": OWN_METRIC | {"kind": "frames"}}),
        (["degradations"], {"own": {"kind": "lanczos", "first_pixel": 0}}),
    ):
        wrong = changed(yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()), path, value)
        assert list(check.iter_errors(wrong)), path


def test_every_key_is_explained():
    """`rlsp keys` writes it."""
    assert (ROOT / "config" / "README.md").read_text().rstrip().endswith(list_keys().rstrip())


@pytest.mark.parametrize("data", [{"source": "floder"}, {"source": ["folder"]}, {}])
def test_plain_forms_of_no_kind_are_refused(data):
    with pytest.raises(ConfigError, match=r"^datasets.own.source: expected one of camera-moves, .*, got "):
        parse_dataset(data, "datasets.own")
