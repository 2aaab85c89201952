# What a newcomer and the continuous integration call. Everything is installed into .venv by these lines alone.

PYTHON ?= python3
BIN := .venv/bin
export FOUNDSOUND_REAL_DATA ?= ../shared/data
export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: quickstart test test-slow espeak-ng check bench bench-gpu real clean

quickstart: .venv/user
	$(BIN)/foundsound quickstart

test: .venv/dev
	$(BIN)/python -m pytest -n 2

test-slow: .venv/dev .venv/libraries espeak-ng
	FOUNDSOUND_TEST_LIBRARIES=$(CURDIR)/.venv/libraries $(BIN)/python -m pytest -m "slow and not gpu and not network" -n 0

# A program under GPL-3 that says how words are pronounced: Debian's, where it is missing and this may install it. Where
# it cannot, the tests that need it are skipped and say so.
APT_GET := DEBIAN_FRONTEND=noninteractive timeout 180 apt-get --quiet --quiet
espeak-ng:
	@command -v $@ >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& { $(APT_GET) update && $(APT_GET) install --yes --no-install-recommends $@; } >/dev/null 2>&1; } \
		|| echo "$@ is not installed and cannot be installed from here; tests of speech are skipped"

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python -m benchmarks

# With the machine's own torch, which knows its GPU: needs only what `models` needs, and says what it lacks.
GPU_PYTHON ?= $(PYTHON)
bench-gpu:
	$(GPU_PYTHON) -m benchmarks.dit

real: .venv/dev
	$(BIN)/python -m pytest -m real -n 0 -s -rs tests/test_real.py tests/test_real_captions.py tests/test_real_search.py tests/captioning tests/models/encoders tests/pipelines/test_weights.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/user: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu]'
	touch $@

# PySceneDetect asks for the OpenCV that wants a display; the headless build takes its place.
.venv/dev: .venv/user
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --force-reinstall opencv-python-headless
	touch $@

# Two libraries that one optional model needs; beside a CPU build of torch they cannot be installed, only looked into.
.venv/libraries: .venv/dev
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ timm==1.0.22 torchvision==0.28.0
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
