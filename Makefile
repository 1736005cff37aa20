# `make demo` and `make test` set up everything they need in .venv; nothing else on the machine changes.
PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= demo_output
BIN := $(VENV)/bin
# The ROS wheels look their packages up here, and nothing leaves this machine.
export AMENT_PREFIX_PATH := $(abspath $(VENV))
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

.PHONY: demo test test-train lint docs clean

demo: $(VENV)/.run  ## render a place, map it, localize in it through ROS, show the result
	$(BIN)/python -m hfnet_ros.demo --output $(OUTPUT)

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

clean:
	rm -rf $(VENV) $(OUTPUT) site build install log *.egg-info
