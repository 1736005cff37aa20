# `make demo` and `make test` set up everything they need in .venv; nothing else on the machine changes.
PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= demo_output
BIN := $(VENV)/bin
# The ROS wheels look their packages up here, and nothing leaves this machine.
export AMENT_PREFIX_PATH := $(abspath $(VENV))
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

.PHONY: demo demo-live test test-train lint fuzz docs release clean

demo: $(VENV)/.run  ## render a place, map it, localize in it through ROS, show the result
	$(BIN)/python -m hfnet_ros.demo --output $(OUTPUT)

demo-live: $(VENV)/.run  ## the same place, mapped while driving; then carried elsewhere, and found in the map just made
	$(BIN)/python -m hfnet_ros.live.demo --output $(OUTPUT)_live

test: lint  ## all tests that need neither torch nor a GPU
	$(BIN)/python -m pytest -n 2 --dist loadgroup test --ignore test/core/training --ignore test/gpu

test-train: $(VENV)/.train  ## the tests that need torch
	$(BIN)/mypy
	$(BIN)/python -m pytest test/core/training

docs: $(VENV)/.docs  ## the site, with its notebook executed: site/index.html
	$(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --exclude hfnet_core/training
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --quiet --recursive hfnet_core hfnet_ros --skip B101,B404,B603  # asserts narrow types; no shell runs
	$(BIN)/python test/audit.py

fuzz: $(VENV)/.dev  ## damaged files for every reader, 10,000 of each format
	$(BIN)/python test/fuzz/run.py --count 10000 --keep corpus

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.py $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[ros,eval,bags,mapping]'
	$(BIN)/python -m hfnet_ros.build_tf2_msgs
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,large,distributed,openvino]'
	touch $@

$(VENV)/.train: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[train]'
	touch $@

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

release: $(VENV)/.run  ## dist/: source archive, wheel, a small map and drive to try, checksums; of what is committed
	$(BIN)/python test/release/build.py dist

clean:
	rm -rf $(VENV) $(OUTPUT) $(OUTPUT)_live site .cache build dist install log *.egg-info
