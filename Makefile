# Every target is complete by itself: it makes .venv in this checkout when that is missing or older than its sources.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# Modules are compiled once and not at each of the thousand starts of a process that the tests make, whatever the shell
# says that make was called from.
export PYTHONDONTWRITEBYTECODE :=
# Test processes side by side, three more than the cores that this is made for: many tests wait for others' clocks.
# Each takes a GB of memory and more. 0 runs all in one.
WORKERS ?= 5
GENERATIONS ?= 8.3.230 8.4.0 8.4.40 8.4.100 8.4.150
# Releases between two generations, told seam by seam: the table of faults alone. CI leaves them out.
MIXTURES ?= 8.4.7 8.4.103
FAULTS := tests/integration/trainer/test_faults.py
OLD := $(FAULTS) $(patsubst %,tests/integration/trainer/test_%.py,exact observe resume)
TYPED := -m trainmaster -m trainmaster.__main__ -m trainmaster.verbs -p trainmaster.bot -p trainmaster.commands -p trainmaster.trainer
.PHONY: demo test cluster generations check types format bench docs clean

demo: $(READY)
	$(BIN)/python -m bot demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --leave-out cluster $(ARGS)

# Whole stories on a real Slurm of several nodes, all on this machine: a cluster for each worker. They mostly wait for
# its queue, so whoever has nothing to do takes the next. CI takes ARGS="-m core"; the long series are
# make bench ARGS=slurm.
cluster: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --only cluster --leave-out rounds \
		$(if $(findstring tests/,$(ARGS)),,tests/integration/slurm tests/integration/bot/drivers) $(ARGS)

# The table of faults, exact resume and observation on older generations of Ultralytics, each in a folder of its own
# beside the installed dependencies, and in one process: so many versions at a time as there are WORKERS.
generations: $(READY)
	@$(MAKE) --no-print-directory --jobs=$(WORKERS) --output-sync=target \
		$(patsubst %,generation-%,$(GENERATIONS) $(MIXTURES))

generation-%: .generations/%/.ready
	@echo "Ultralytics $*:"
	@OMP_NUM_THREADS=1 PYTHONPATH=.generations/$*:$(CURDIR) $(BIN)/python -m pytest --only generations \
		$(if $(findstring tests/,$(ARGS)),,$(if $(filter $*,$(MIXTURES)),$(FAULTS),$(OLD))) $(ARGS)

.PRECIOUS: .generations/%/.ready
.generations/%/.ready: | $(READY)
	@echo "Installing Ultralytics $* into $(@D)."
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --upgrade --target $(@D) ultralytics==$*
	@touch $@

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) types
	$(MAKE) test

# mypy sees the product under its installed name: links to the folders of this checkout.
types: $(READY)
	@mkdir -p .types/trainmaster
	@ln -sfn ../../bot .types/trainmaster/bot
	@ln -sfn ../../commands .types/trainmaster/commands
	@ln -sfn ../../trainer .types/trainmaster/trainer
	@for file in trainmaster/*.py; do ln -sf ../../$$file .types/$$file; done
	MYPYPATH=.types $(BIN)/mypy $(TYPED)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m tests.bench $(ARGS)

# The documentation as a site in site/index.html, with tools of its own; a link that leads nowhere ends it.
docs: .docs-tools/.ready
	NO_MKDOCS_2_WARNING=1 .docs-tools/bin/mkdocs build --quiet --strict --clean $(ARGS)
	@echo "Open site/index.html"

.docs-tools/.ready: docs/requirements.lock
	$(PYTHON) -m venv .docs-tools
	.docs-tools/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes -r docs/requirements.lock
	@touch $@

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) .ci/install.py

clean:
	rm -rf $(VENV) .generations .docs-tools site .pytest_cache .mypy_cache .ruff_cache .hypothesis
