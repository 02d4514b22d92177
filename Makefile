# Everything a person or CI does here. `make help` lists it. Needed beforehand: GNU make and Python 3.11 or newer with its venv module.

PYTHON ?= python3
VENV ?= .venv
# PyTorch is installed by pip, not from a lock: which build fits depends on the machine. PIP_ARGS goes to that one call, for example
# PIP_ARGS="--index-url <where the builds for your GPU, or for none, are>".
TORCH ?= torch==2.13.0
PIP_ARGS ?=
UV_VERSION = 0.13.8

APP ?= examples/hello.py
NAME ?= design_studio
ARGS ?=
SEED ?=

PY = $(VENV)/bin/python
UV = $(VENV)/bin/uv
# The locks are complete, so nothing is resolved while installing: what is not in them is not installed.
# Compiled at once: where PYTHONDONTWRITEBYTECODE is set, every process would compile all it imports, more than half of a start's CPU time.
SYNC_INTO = $(UV) pip install --quiet --no-deps --require-hashes --compile-bytecode --python
SYNC = $(SYNC_INTO) $(PY)
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate
EXTRAS = --extra serve --extra embedded --extra s3 --extra images

# Stamps: a target is built again when what it was made from is newer.
UV_READY = $(VENV)/.uv-$(UV_VERSION)
READY = $(VENV)/.ready
DEV_READY = $(VENV)/.dev-ready
DEMO_READY = $(VENV)/.demo-ready

# A larger example has requirements of its own, which must not meet those of Longrun's environment.
EXAMPLE = examples/$(NAME)
EXAMPLE_PY = $(EXAMPLE)/.venv/bin/python
EXAMPLE_READY = $(EXAMPLE)/.venv/.ready

.PHONY: help demo example serve test check format bench chaos wheel lock clean bytecode
.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST)) | awk -F'\t' '{ printf "  make %-7s %s\n", $$1, $$2 }'

demo: $(DEMO_READY) ## embed eight sentences with a real model through the real service, on this machine
	$(PY) examples/demo.py $(ARGS)

example: $(EXAMPLE_READY) ## run a larger example in an environment of its own: make example NAME=design_studio
	$(EXAMPLE_PY) -m examples.$(NAME).run $(ARGS)

serve: $(READY) ## serve a model file with all it needs, and no more: make serve APP=examples/hello.py
	$(PY) -m longrun serve $(APP) $(ARGS)

# Most of the tests wait most of their time, so three processes for each of two cores; the tests of a file share what they start.
test: bytecode ## run the tests: make test ARGS="-k words"
	$(PY) -m pytest -q -n $(or $(JOBS),6) --dist loadfile --no-loadscope-reorder -m "not chaos and not slow" $(ARGS)

# The same for our own code, which the tests start in some hundred processes; what has not changed is not compiled again.
bytecode: $(DEV_READY)
	@$(PY) -m compileall -q src

check: $(DEV_READY) ## formatting, lint, types, direction of imports, declared dependencies
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy --strict src
	$(VENV)/bin/lint-imports
	$(VENV)/bin/deptry src

format: $(DEV_READY) ## let ruff rewrite what `make check` would complain about
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

bench: $(DEV_READY) $(DEMO_READY) ## measure everything beside its peers and write benchmarks/RESULTS.md: make bench ARGS=--quick
	$(PY) benchmarks/run.py --write $(ARGS)

chaos: bytecode ## break things under load and look for lost or doubled jobs; three random seeds, or: make chaos SEED=7
	CHAOS_SEED="$(or $(SEED),$(shell $(PYTHON) -c 'import random; print(*random.sample(range(1, 10000), 3), sep=",")'))" \
		$(PY) -m pytest -n $(or $(JOBS),2) tests/chaos tests/e2e tests/integration -m "chaos or slow" -o faulthandler_timeout=600 $(ARGS)

wheel: $(READY) ## build the wheel, install it in fresh environments without the locks, run jobs there
	$(PY) tests/wheel.py --uv $(UV) $(ARGS)

# What `make serve` installs, then what the tests need beside it, then the demo, then the peers of the benchmarks: the earlier bind the later.
lock: $(UV_READY) ## resolve the dependencies again: make lock ARGS=--upgrade
	$(COMPILE) $(ARGS) pyproject.toml requirements.in $(EXTRAS) -o requirements.lock
	$(COMPILE) $(ARGS) pyproject.toml requirements.in $(EXTRAS) --extra flower --extra dev --constraints requirements.lock \
		-o requirements-dev.lock
	echo "$(TORCH)" | $(COMPILE) $(ARGS) pyproject.toml - $(EXTRAS) --extra demo --constraints requirements-dev.lock \
		--excludes requirements-demo.excludes --no-emit-package torch -o requirements-demo.lock
	for wanted in benchmarks/peers/*.in; do \
		$(COMPILE) $(ARGS) $$wanted -o $${wanted%.in}.lock || exit 1; done
	for wanted in examples/*/requirements.in; do \
		$(COMPILE) $(ARGS) $$wanted --constraints requirements.lock --excludes $${wanted%.in}.excludes -o $${wanted%.in}.lock || exit 1; done

clean: ## remove the environment, caches and build results (not data folders)
	rm -rf $(VENV) examples/*/.venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples -type d -name __pycache__ -prune -exec rm -rf {} +

$(UV_READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Longrun needs Python 3.11 or newer, but $(PYTHON) is" \
			"$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null || echo 'not here')." \
			"Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) has no working venv module: install it (Debian and Ubuntu: the package python3-venv)." >&2; \
		rm -rf $(VENV); exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(READY): $(UV_READY) requirements.lock pyproject.toml
	$(SYNC) -r requirements.lock
	@$(UV) pip uninstall --quiet --python $(PY) longrun 2>/dev/null  # our name of old, which is another project's
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_READY): $(READY) requirements-dev.lock
	$(SYNC) -r requirements-dev.lock
	@touch $@

# The lock first: pip then finds everything PyTorch needs but its CUDA parts in place, at the locked versions.
$(DEMO_READY): $(READY) requirements-demo.lock
	$(SYNC) -r requirements-demo.lock
	$(PY) -m pip install --quiet --disable-pip-version-check "$(TORCH)" $(PIP_ARGS)
	@touch $@

$(EXAMPLE_READY): $(UV_READY) requirements.lock pyproject.toml $(EXAMPLE)/requirements.lock
	@test -x $(EXAMPLE_PY) || $(UV) venv --quiet --python $(PY) $(EXAMPLE)/.venv
	$(SYNC_INTO) $(EXAMPLE_PY) -r requirements.lock
	$(SYNC_INTO) $(EXAMPLE_PY) -r $(EXAMPLE)/requirements.lock
	$(UV) pip install --quiet --python $(EXAMPLE_PY) --no-deps --no-build-isolation --editable .
	@touch $@
