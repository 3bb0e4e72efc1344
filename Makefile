# `make` lists the targets. `make install` makes the environment once; later targets need no network.
.DEFAULT_GOAL := help
.PHONY: help install demo sql fix check audit unit test bundle-check soak soak-torch install-bench bench clean lock
SHELL := /bin/bash
# Images of containers set it; without cached bytecode each process compiles its packages again, for seconds.
unexport PYTHONDONTWRITEBYTECODE
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
# What installs and builds: hashed in requirements-build.lock, which is changed by `make lock`.
TOOLS := uv==0.13.9 setuptools==84.2.1
UV := UV_PYTHON_DOWNLOADS=never .uv/bin/uv
BIN := .venv/bin
# Tests that run on Spark Connect; on classic Spark they run in the soak.
ON_CONNECT := $(addprefix tests/spark/,recommender/split recommender/metrics recommender/als/test_execution.py \
	features/test_fit.py test_serverless_rules.py)
# The packages of Databricks runtime 17.3 LTS, and the tests that run on them.
RUNTIME := pyspark==4.0.0 delta-spark==4.0.1 'pandas==2.2.*' 'numpy==2.1.*' 'pyarrow>=18,<22'
ON_RUNTIME := tests/integration/test_bundle_jobs.py tests/integration/test_ingest_events.py \
	$(addprefix tests/spark/,features/test_job.py ingest/files/test_loader.py training/test_job.py \
	recommender/matchbox/test_job.py)
# The frameworks of networks, and the tests that run on them. torch brings CUDA's libraries, 5 GB.
DEEP := keras jax jax2onnx h5py xgboost-cpu
TORCH := torch onnxscript
ON_DEEP := tests/unit/learners tests/unit/model_store
LOCKS := requirements.lock requirements-data.lock
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-find-links --custom-compile-command "make lock"

help:  ## lists the targets in the order one needs them
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

install: .venv/.installed .venv/.classes  ## makes the environment in .venv, once: packages, connector and broker jars

demo: install  ## runs the main jobs on MovieLens-100K: broker, tables, features, models, SQL
	@$(BIN)/matchlake demo

sql: install  ## opens a SQL prompt on the tables of the demo
	@$(BIN)/matchlake sql --env demo

fix: .venv/.installed  ## repairs what lint and format can repair
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

check: .venv/.installed bundle-check  ## lint, format, types, import layers, the bundle; prints known vulnerabilities
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m matchlake.dev.audit

audit: .venv/.installed  ## fails if a locked package or jar has a known vulnerability; needs the network
	@$(BIN)/python -m matchlake.dev.audit --strict

unit: .venv/.installed  ## the quick tests: unit and contract
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak" tests/unit tests/contract

test: .venv/.installed  ## what CI runs: unit, Spark (classic and Connect), contract, integration and bundle tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not soak" tests/integration
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not soak" \
		--ignore tests/integration $(addprefix --ignore=,$(ON_CONNECT))
	@MATCHLAKE_TEST_SPARK=connect $(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak and not local_only" $(ON_CONNECT)

bundle-check: .venv/.installed  ## checks databricks.yml, the jobs and conf against the SDK's types and each other
	@$(BIN)/matchlake bundle check

soak: .venv/.installed .venv-runtime/.installed .venv-deep/.installed  ## the long tests: many kills, whole demos, clusters, Spark 4.0, Keras
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "soak and not frameworks"
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak" $(ON_CONNECT)
	@.venv-deep/bin/python -m pytest -n 0 -m frameworks $(ON_DEEP)
	@command -v Rscript >/dev/null || echo "not tested: the trainer r, because R is not installed" \
		"(on Debian: apt install r-base-core r-cran-jsonlite r-cran-randomforest)" >&2
	@MATCHLAKE_TEST_SPARK=connect $(BIN)/python -m pytest -n 2 --dist loadfile tests/integration/test_bundle_jobs.py \
		tests/spark/training/test_training_set.py
	@.venv-runtime/bin/python -m pytest -n 2 --dist loadfile $(ON_RUNTIME)

soak-torch: .venv-torch/.installed  ## the long tests of PyTorch; installs 5 GB
	@.venv-torch/bin/python -m pytest -n 0 -m frameworks $(ON_DEEP)

install-bench: .venv/.installed-bench  ## adds the packages that the benchmarks compare with

bench: install-bench  ## runs the benchmarks
	@for bench in tests/benchmarks/bench_*.py; do $(BIN)/python $$bench; done

clean:  ## stops the sandbox and removes its tables, checkpoints, broker data and tracking
	@if [ -x $(BIN)/matchlake ]; then $(BIN)/matchlake sandbox stop; fi
	rm -rf .lakehouse

lock: .uv/bin/uv  ## resolves the requirement locks again, after a change of pyproject.toml
	$(COMPILE) pyproject.toml --extra spark --extra dev -o requirements.lock
	$(COMPILE) pyproject.toml --extra spark --extra dev --extra bench -c requirements.lock \
		-o requirements-bench.lock
	printf '%s\n' $(RUNTIME) | $(COMPILE) pyproject.toml --extra spark --extra dev \
		-c /dev/stdin -o requirements-runtime.lock
	$(COMPILE) pyproject.toml --extra images --extra models --extra online --extra search --extra telemetry \
		-c requirements-runtime.lock -o requirements-job.lock
	printf '%s\n' $(DEEP) | $(COMPILE) - -c requirements.lock -o requirements-deep.lock
	printf '%s\n' $(TORCH) | $(COMPILE) - -c requirements.lock -o requirements-torch.lock
	printf '%s\n' $(TOOLS) | $(COMPILE) - -o requirements-build.lock
	echo 'recbole==1.2.1' | $(COMPILE) - --no-deps -o requirements-data.lock

.uv/bin/uv: requirements-build.lock
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) must be Python 3.11 or newer with its venv module" \
			"(on Debian: apt install python3-venv); set PYTHON=... to choose another." >&2; exit 1; }
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-build.lock || { \
		rm -rf .uv; echo "error: uv could not be installed: the first install needs the" \
			"network (a package index)." >&2; exit 1; }

.venv/.installed: $(LOCKS) pyproject.toml lib/matchlake/dev/sandbox/connectors.lock \
		lib/matchlake/dev/sandbox/broker.lock | .uv/bin/uv
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	@echo "packages: those of $(LOCKS), about a minute" >&2
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes $(LOCKS)
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m matchlake.dev.sandbox.jars
	@touch $@

# Sessions of commands and of the demo start in half the time with it; tests do without.
.venv/.classes: .venv/.installed
	@$(BIN)/python -m matchlake.dev.sandbox.class_archive
	@touch $@

# The packages and jars of a Databricks runtime; other packages as in the lock.
.venv-runtime/.installed: requirements-runtime.lock requirements-data.lock pyproject.toml \
		lib/matchlake/dev/sandbox/connectors-4.0.lock | .venv/.installed
	@[ -x .venv-runtime/bin/python ] || $(UV) venv --quiet --python $(PYTHON) .venv-runtime
	@$(UV) pip sync --quiet --python .venv-runtime/bin/python --require-hashes \
		requirements-runtime.lock requirements-data.lock
	@$(UV) pip install --quiet --python .venv-runtime/bin/python --no-deps --no-build-isolation -e .
	@.venv-runtime/bin/python -m matchlake.dev.sandbox.jars
	@touch $@

# The packages of the first environment, and those of one framework of networks.
.venv-deep/.installed .venv-torch/.installed: .venv-%/.installed: requirements-%.lock $(LOCKS) pyproject.toml | .venv/.installed
	@[ -x .venv-$*/bin/python ] || $(UV) venv --quiet --python $(PYTHON) .venv-$*
	@$(UV) pip sync --quiet --python .venv-$*/bin/python --require-hashes $< $(LOCKS)
	@$(UV) pip install --quiet --python .venv-$*/bin/python --no-deps --no-build-isolation -e .
	@.venv-$*/bin/python -m matchlake.dev.sandbox.jars
	@touch $@

.venv/.installed-bench: requirements-bench.lock .venv/.installed
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes \
		requirements-bench.lock requirements-data.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m matchlake.dev.sandbox.jars
	@touch .venv/.installed $@
