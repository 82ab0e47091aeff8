# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

# `make demo` and `make test` work on a fresh machine: each first makes the environment it needs.

# The Python that the environment is made with.
PYTHON ?= python3
# kilted or jazzy; empty means the ROS 2 that is sourced, or else kilted.
DISTRO ?=

VENV := $(if $(filter jazzy,$(DISTRO)),.venv-jazzy,.venv)
SET_UP = $(PYTHON) environment/make_environment.py --path $(VENV) $(if $(DISTRO),--distro $(DISTRO))

.PHONY: help demo test lint environment clean python

help:
	@echo 'make demo   run the detector on the recording, live; your own with'
	@echo '            BAG=folder_or_file MODEL=bundle TOPIC=/camera/image;'
	@echo '            DEMO_ARGS="--beside nanodet_g" shows a second model beside it'
	@echo 'make test   run the tests, two files at a time; PYTEST_ARGS="-k bundle -x" goes to'
	@echo '            pytest; with "--numprocesses 0" they run one after the other'
	@echo 'make lint   run the style and type checks alone'
	@echo 'make clean  remove the environments and the caches'
	@echo 'With any:   DISTRO=kilted|jazzy, PYTHON=python3.12'

demo: python
	@$(SET_UP) --for demo
	@$(VENV)/bin/prune-perception demo \
	  $(if $(BAG),--bag '$(BAG)') $(if $(MODEL),--model '$(MODEL)') \
	  $(if $(TOPIC),--topic '$(TOPIC)') $(DEMO_ARGS)

test: python
	@$(SET_UP) --for test
	@$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: python
	@$(SET_UP) --for test
	@$(VENV)/bin/python -m pytest test/test_lint.py $(PYTEST_ARGS)

environment: python
	@$(SET_UP) --for test

clean:
	rm -rf .venv .venv-jazzy build install log dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# In words that every Python understands, back to 2.
python:
	@command -v $(PYTHON) > /dev/null || { \
	  echo '[set-up] error: $(PYTHON) is not there: install Python 3.11 or newer, or name one with PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo '[set-up] error: $(PYTHON) is older than Python 3.11: name a newer one with PYTHON=python3.12' >&2; exit 1; }
