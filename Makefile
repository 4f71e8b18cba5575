# make demo, make test: everything from a fresh clone. The README says what each target does.
PYTHON ?= python3
CORES ?= all
STUDY ?= demo
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# An extra package index for another build of torch (README, "CPU or GPU").
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SNAKEMAKE = $(BIN)/snakemake --cores $(CORES)
# Further configuration files that change the study's, such as one with your own folders.
CONFIGS ?=
# Parts of make gpu, and study files for it instead of config/gpu-session.yaml.
PARTS ?=
GPU_STUDIES ?=
# Tests run in this many processes.
WORKERS ?= auto
# One that crashes ends them all: pytest-xdist waits forever for the last tests after it has replaced one.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
STUDY_FILES = config/$(STUDY).yaml $(CONFIGS)

.PHONY: help install demo study test test-fast test-released test-isa test-slurm gpu lint fetch figures reference readme wheel clean

help:
	@echo 'make demo                       train, measure and report the demo study'
	@echo 'make test                       run the linters and all tests'
	@echo 'make test-fast                  those that take no minutes, in one minute'
	@echo 'make test-released              fetch 40 MB of the authors and compare with their pixels'
	@echo 'make test-isa                   the numerical ones at each level of vector instructions'
	@echo 'make gpu PARTS="tests times"    test, time and train on a GPU; by default also rates and training'
	@echo 'make test-slurm                 run a study on a Slurm of one node (installs it: Debian, as root)'
	@echo 'make lint                       run the linters'
	@echo 'make study STUDY=released       run config/released.yaml (or small, or paper)'
	@echo 'make fetch STUDY=released       only download what a study needs'
	@echo 'make figures FROM=results/demo  redraw figures from the rows of a study'
	@echo 'make reference STUDY=demo       copy rows, tables and figures to results/reference'
	@echo 'make readme                     fill the numbers of the README from results/reference'
	@echo 'make wheel                      build/rlsp-*.whl, for use without a clone'
	@echo 'Variables: PYTHON=python3.12  CORES=8  WORKERS=4  TORCH_INDEX=<URL>  CONFIGS=mine.yaml'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else \
	"error: expected Python 3.11 to 3.14, $(PYTHON) is %d.%d; say make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e '.[test,cluster,notebook]'
	@touch $@

demo: $(INSTALLED)
	$(SNAKEMAKE)

study: $(INSTALLED)
	$(SNAKEMAKE) --configfile $(STUDY_FILES)

fetch: $(INSTALLED)
	$(BIN)/rlsp fetch $(addprefix --study ,$(STUDY_FILES))

test: $(INSTALLED) lint
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(INSTALLED) lint
	$(BIN)/python -m pytest $(PARALLEL) -m 'not workflow and not slow and not slurm'

# Files of the authors; build/ is not under version control.
test-released: $(INSTALLED)
	$(BIN)/python tools/fetch_mirror.py build/mirror
	RLSP_TEST_MIRROR=build/mirror $(BIN)/python -m pytest -m mirror $(PARALLEL)

test-isa: $(INSTALLED)
	$(BIN)/python tools/isa.py

# Without an environment of our own it takes whichever has PyTorch: make gpu PYTHON=python3.12
gpu:
	$(if $(wildcard $(INSTALLED)),$(BIN)/python,$(PYTHON)) tools/gpu.py $(PARTS) $(addprefix --study ,$(GPU_STUDIES))

test-slurm: $(INSTALLED)
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m pytest -m slurm -v tests/slurm

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy

figures: $(INSTALLED)
	$(BIN)/rlsp figures $(if $(FROM),--results $(FROM),$(error say make figures FROM=<folder of results>))

reference: $(INSTALLED)
	$(BIN)/rlsp reference results/$(STUDY)

readme: $(INSTALLED)
	$(BIN)/python tools/fill_readme.py

# setuptools would put files of an older build into the wheel.
wheel: $(INSTALLED)
	rm -rf build/lib
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation -w build .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
