# One task runner for people and CI. Needs Python >= 3.11, git and make; everything else goes into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
CORES   := $(shell nproc 2>/dev/null || echo 2)
# More than there are cores, because some tests wait; not many more: each worker takes 4 s of CPU to collect all tests.
WORKERS := $(shell expr $(CORES) + 4)
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # without its cache, pytest rewrites every test anew in each worker
.PHONY: help install demo demo-grpc demo-port test test-alarms test-cluster test-image test-kafka check dist fix proto soak mutants bench abuse lock clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "make %-14s %s\n", $$1, $$2}'

# A stamp per lock file: an unchanged lock costs nothing, a changed one is installed by the next command.
$(VENV)/.installed: requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gha_step needs Python 3.11 or newer; this is %s. Set PYTHON=/path/to/python3.11" % sys.version.split()[0])'
	@echo "Setting up $(VENV), once: first Python's venv, then the packages of requirements.lock (a minute or two) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@echo "… and gha-step itself."
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q gha_step
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "Installing the packages for tests into $(VENV), once (a minute or two) …"
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.installed   ## make .venv with .venv/bin/gha-step from the lock files

demo: install    ## a step whose server is killed half-way: one run, and the same ID; on this machine alone
	$(BIN)/gha-step demo

demo-grpc: install ## the same over gRPC
	$(BIN)/gha-step demo --grpc

demo-port: install ## a button in Port, its workflow and a killed server, on this machine alone
	$(BIN)/gha-step demo --port

test: $(VENV)/.installed-dev  ## all tests but those of test-alarms, test-cluster, test-image and test-kafka
	@# In a new clone, else each worker compiles every test, which takes it 10 s of CPU. What cannot be collected fails below.
	@ls tests/__pycache__/test_*-pytest-*.pyc >/dev/null 2>&1 || find tests -name 'test_*.py' \
	  | xargs -P $(CORES) -n 100 $(BIN)/python -m pytest --collect-only -qq >/dev/null 2>&1 || true
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not soak and not cluster and not image and not alarms and not kafka"
	@echo "Left out: make test-cluster (needs a kube-apiserver), make test-alarms (needs promtool), make test-image (installs"
	@echo "what the image holds), make test-kafka (needs java)."

test-cluster: $(VENV)/.installed-dev ## the ledger, the roles and deploy/ on a real kube-apiserver: KUBEBUILDER_ASSETS
	@$(BIN)/python -c 'import os, sys; from tests.support.cluster import missing; sys.exit(missing(os.environ))'
	$(BIN)/python -m pytest -n 2 -m "cluster and not soak"

test-alarms: $(VENV)/.installed-dev ## the alarms and the dashboard, by promtool and prometheus
	@if command -v promtool >/dev/null && command -v prometheus >/dev/null; then \
	  $(BIN)/python -m pytest -n 2 -m alarms; \
	else \
	  echo "LEFT OUT: ALL OF make test-alarms. promtool or prometheus is not on the PATH, so no alarm was seen to fire" >&2; \
	  echo "and no query of the dashboard was asked. Both come with Prometheus (Debian: apt-get install prometheus)." >&2; \
	fi

test-image: $(VENV)/.installed-dev ## the Dockerfile's commands, without a container engine
	$(BIN)/python -m pytest -m image

# A real Kafka: its jars are in KAFKA_JARS, or come with Maven once.
KAFKA_JARS ?= $(CURDIR)/$(VENV)/kafka-jars
test-kafka: $(VENV)/.installed-dev ## Port's topic on a real Kafka: KRaft, SASL_SSL, SCRAM-SHA-512
	@if command -v java >/dev/null && { ls "$(KAFKA_JARS)"/kafka_2.13-*.jar >/dev/null 2>&1 || { command -v mvn >/dev/null \
	  && mvn -q -B -f tests/support/kafka-jars.xml dependency:copy-dependencies -DoutputDirectory="$(KAFKA_JARS)"; }; }; then \
	  KAFKA_JARS="$(KAFKA_JARS)" $(BIN)/python -m pytest -m kafka; \
	else \
	  echo "LEFT OUT: ALL OF make test-kafka. It needs java, and Maven or the jars of org.apache.kafka:kafka_2.13 in" >&2; \
	  echo "KAFKA_JARS. So no login by SCRAM-SHA-512 over TLS was seen; make test has librdkafka's mock cluster." >&2; \
	fi

check: $(VENV)/.installed-dev ## format, lint, types, import arrows, workflows, generated docs and code current, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --quiet --persona=pedantic .github
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	$(BIN)/python -m tests.docs --check
	$(BIN)/python -m tests.proto --check
	$(MAKE) --no-print-directory test

dist: $(VENV)/.installed ## wheel and sdist in dist/
	rm -rf dist && mkdir dist
	$(BIN)/python -c "from flit_core import buildapi; buildapi.build_wheel('dist'); buildapi.build_sdist('dist')"

fix: $(VENV)/.installed-dev   ## format, fix what the linter can fix, write the generated parts of the docs
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m tests.docs --write

proto: $(VENV)/.installed-dev ## write gha_step/pb from proto/
	$(BIN)/python -m tests.proto --write

soak: $(VENV)/.installed-dev  ## 10,000 and more simulated schedules, real kills, full-time scenarios (10 minutes)
	$(BIN)/python -m tests.simulation --seeds 10000
	$(BIN)/python -m tests.simulation --port --seeds 1000
	$(BIN)/python -m tests.simulation --abort --seeds 2000
	$(BIN)/python -m tests.kills --rounds 200
	test -z "$$KUBEBUILDER_ASSETS" || $(BIN)/python -m tests.kills --replicas --rounds 200
	$(BIN)/python -m pytest -m soak -n 6 -rP
	$(BIN)/python -m pytest -n 4 --hypothesis-profile=soak $$(grep -rl '@given' tests --include='test_*.py')

mutants: $(VENV)/.installed-dev ## mutations of the code that keeps the promises: each must be caught (15 minutes)
	$(BIN)/python -m tests.mutants

bench: $(VENV)/.installed-dev ## performance, side by side with its peers
	test -d $(VENV)/bench || $(PYTHON) -m venv $(VENV)/bench
	$(VENV)/bench/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements-bench.lock
	$(BIN)/python -m compileall -q gha_step  # as an installation has it
	$(BIN)/python -m tests.bench

abuse: $(VENV)/.installed-dev ## attacks beside a well-behaved project: memory, time, connections (10 minutes)
	$(BIN)/python -m tests.abuse

lock:            ## write the lock files anew from pyproject.toml (newest versions that fit)
	test -d $(VENV)/lock || $(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --disable-pip-version-check install --quiet uv
	cd $(CURDIR) && for extra in "requirements.lock" "requirements-dev.lock --extra dev" "requirements-bench.lock --extra bench"; do \
	  set -- $$extra; out=$$1; shift; \
	  $(VENV)/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --upgrade $$@ pyproject.toml -o $$out || exit 1; done
	echo flit_core | $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade - -o requirements-build.lock

clean:           ## remove what was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
