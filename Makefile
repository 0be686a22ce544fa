# Every target is complete by itself: it makes .venv in this checkout when that is missing or older than its sources.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# Test processes side by side; 0 runs all in one.
WORKERS ?= 2
TYPED := -m trainmaster -m trainmaster.__main__ -m trainmaster.verbs -p trainmaster.bot -p trainmaster.commands -p trainmaster.trainer
.PHONY: demo test check types format bench clean

demo: $(READY)
	$(BIN)/python -m bot demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

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

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) .ci/install.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
