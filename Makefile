# The two commands are `make demo` and `make test`; the rest is what developers type all day.
# Everything that they need is made below .envs/ and target/.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

ENVS := .envs
UV := $(ENVS)/uv/bin/uv
export UV_PYTHON_DOWNLOADS := never
# Once, rather than at the start of each of the many processes that tests start.
export UV_COMPILE_BYTECODE := 1

TOOLS := $(ENVS)/tools/bin
OLDEST := $(ENVS)/dagster-1.9.1
NEWEST := $(ENVS)/dagster-newest
SQLMESH := $(ENVS)/sqlmesh
PUBLIC_CLIENT := $(ENVS)/public-client
UPGRADED := $(ENVS)/upgraded
BENCH := $(ENVS)/bench
BENCH_ORIGINAL := $(ENVS)/bench-original

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find crates -type f -not -path '*/tests/*')
PYTHON_SOURCES := $(shell find python_wrapper -type f -not -name '*.pyc')
# But the SQLMesh project: it needs SQLMesh.
TYPED_EXAMPLES := examples/demo.py examples/dagster_project examples/component/src examples/kubernetes
PYTHON_CODE := python_wrapper tests examples setup
MANIFESTS := $(addprefix examples/kubernetes/,namespace.yaml secret.yaml rbac.yaml)
# The test binary that the tests of the channel launch in the executable's place.
export TOBIKO_TEST_MESSAGES := $(abspath target/debug/test-messages)
IMAGE := tobiko-facade:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

.PHONY: demo
demo: $(NEWEST)/.wheel $(SQLMESH)/.wheel ## Show real SQLMesh runs in Dagster; ONCE=1: until the first one is mirrored
	@exec $(NEWEST)/bin/python examples/demo.py --sqlmesh-python $(SQLMESH)/bin/python $(if $(ONCE),--once)

# The longest first. Most of them wait more than they compute: two at a time, each with its output in one piece.
TESTS := test-rust test-dagster-newest test-dagster-oldest test-end-to-end-newest test-end-to-end-oldest test-chaos test-postgres test-daemon-oldest test-daemon-newest test-recorder test-public-client test-upgrade

# Where `make test` keeps what each target prints. Which tests failed is said once more at the end.
TEST_LOGS := $(abspath target/test-logs)
LOGGED = setup/logged.sh $@

.PHONY: test
test: ## Every test, against the oldest and the newest Dagster
	@rm -rf $(TEST_LOGS)
	@+LOGS=$(TEST_LOGS) $(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target $(TESTS); \
		code=$$?; setup/summary.sh $(TEST_LOGS) $(TESTS); exit $$code

# The working tree as it is: nothing is installed, but what the tests need.
WORKING_TREE := PYTHONPATH=$(abspath python_wrapper/src) TOBIKO_FACADE_EXECUTABLE=$(abspath target/debug/tobiko-facade)

.PHONY: test-fast
test-fast: $(NEWEST)/.ready $(SQLMESH)/.ready ## What takes a minute: the crates, and the Python tests marked `fast`, on the working tree
	cargo build --locked --quiet --package tobiko_facade
	@+$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target test-fast-rust test-fast-python

.PHONY: test-fast-rust
test-fast-rust:
	cargo test --workspace --locked --quiet --no-fail-fast

.PHONY: test-fast-python
test-fast-python:
	$(WORKING_TREE) $(NEWEST)/bin/python -m pytest -q -m fast tests/dagster tests/imports tests/chaos
	$(WORKING_TREE) $(SQLMESH)/bin/python -m pytest -q -m fast tests/recorder

# After the wheel: maturin takes the executable away from where cargo put it, for a moment.
.PHONY: test-rust
test-rust: dist/dev/.built
	+$(LOGGED) cargo test --workspace --locked --quiet --no-fail-fast

.PHONY: test-recorder
test-recorder: $(SQLMESH)/.wheel
	$(LOGGED) $(SQLMESH)/bin/python -m pytest -q tests/recorder

.PHONY: test-public-client
test-public-client: $(PUBLIC_CLIENT)/.ready $(NEWEST)/.wheel
	TOBIKO_FACADE_EXECUTABLE=$(abspath $(NEWEST))/bin/tobiko-facade $(LOGGED) $(PUBLIC_CLIENT)/bin/python -m pytest -q tests/local_cloud

# What `make test` does a little of. A failure names the seed that plays it again.
SEARCHING := tests/dagster/truth/test_random_scenarios.py tests/dagster/definitions/test_odd_projects.py
SEARCH := RANDOM_SCENARIOS=$(or $(RANDOM_SCENARIOS),200) ODD_PROJECTS=$(or $(ODD_PROJECTS),50)
# 1,000 tasks, twice: too long for every run.
LARGE := tests/dagster/on_kubernetes/test_large.py

.PHONY: test-long
test-long: $(OLDEST)/.wheel $(NEWEST)/.wheel ## Many more random scenarios and odd projects, 1,000 tasks by way of a pod, more on PostgreSQL; FIRST_SEED=1
	@$(POSTGRES)
	$(SEARCH) $(OLDEST)/bin/python -m pytest -q $(SEARCHING)
	$(SEARCH) $(NEWEST)/bin/python -m pytest -q $(SEARCHING) $(LARGE)
	$(ON_POSTGRES) $(OLDEST)/bin/python -m pytest -q tests/dagster/truth tests/dagster/mirror tests/dagster/channel
	$(ON_POSTGRES) $(NEWEST)/bin/python -m pytest -q tests/dagster/channel

# Of tests/dagster/on_kubernetes/cluster.py: KUBECONFIG_TEST, KUBERNETES_TEST_IMAGE, KUBERNETES_TEST_HOST say which.
.PHONY: test-cluster
test-cluster: $(NEWEST)/.wheel ## The Kubernetes tests on a real cluster, by hand
	$(NEWEST)/bin/python -m pytest -q tests/dagster/on_kubernetes

.PHONY: test-upgrade
test-upgrade: $(UPGRADED)/.wheel $(PUBLIC_CLIENT)/.ready
	ORIGINAL_PYTHON=$(abspath $(PUBLIC_CLIENT))/bin/python $(LOGGED) $(UPGRADED)/bin/python -m pytest -q tests/upgrade

POSTGRES := setup/debian.sh pg_ctlcluster=postgresql

.PHONY: test-dagster-oldest
test-dagster-oldest: $(OLDEST)/.wheel $(SQLMESH)/.wheel $(TOBIKO_TEST_MESSAGES)
	@$(POSTGRES)
	$(LOGGED) $(OLDEST)/bin/python -m pytest -q tests/dagster --ignore=$(LARGE) --ignore=tests/dagster/on_kubernetes/test_image.py

.PHONY: test-dagster-newest
test-dagster-newest: $(NEWEST)/.wheel $(SQLMESH)/.wheel $(TOBIKO_TEST_MESSAGES)
	@$(POSTGRES)
	$(LOGGED) $(NEWEST)/bin/python -m pytest -q --collect-only $(LARGE)
	$(LOGGED) $(NEWEST)/bin/python -m pytest -q tests/dagster --ignore=$(LARGE)

# What is true, with Dagster's runs and events in PostgreSQL.
ON_POSTGRES := TEST_STORAGE=postgres
.PHONY: test-postgres
test-postgres: $(NEWEST)/.wheel
	@$(POSTGRES)
	$(ON_POSTGRES) $(LOGGED) $(NEWEST)/bin/python -m pytest -q tests/dagster/truth tests/dagster/mirror

# The sensor on a real daemon.
.PHONY: test-daemon-oldest
test-daemon-oldest: $(OLDEST)/.wheel
	$(LOGGED) $(OLDEST)/bin/python -m pytest -q tests/daemon

.PHONY: test-daemon-newest
test-daemon-newest: $(NEWEST)/.wheel
	$(LOGGED) $(NEWEST)/bin/python -m pytest -q tests/daemon

# The chaos, for so long that each part is killed once; from one seed, so that two changes meet the same. `make chaos` draws one.
CHAOS_SEED := 20240501
# Of what may happen besides; empty, everything does.
CHAOS_WITHOUT :=
.PHONY: test-chaos
test-chaos: $(NEWEST)/.wheel
	$(LOGGED) $(NEWEST)/bin/python -m pytest -q tests/chaos
	$(LOGGED) $(NEWEST)/bin/python tests/chaos/chaos.py --seconds 90 --seed $(CHAOS_SEED) --without $(CHAOS_WITHOUT)

# The whole way: SQLMesh, the local cloud, `dagster dev`; with the newest also a browser.
.PHONY: test-end-to-end-oldest
test-end-to-end-oldest: $(OLDEST)/.wheel $(SQLMESH)/.wheel
	$(LOGGED) $(OLDEST)/bin/python -m pytest -q tests/end_to_end/test_1_story.py

.PHONY: test-end-to-end-newest
test-end-to-end-newest: $(NEWEST)/.wheel $(SQLMESH)/.wheel
	@setup/debian.sh chromium=chromium chromedriver=chromium-driver
	$(LOGGED) $(NEWEST)/bin/python -m pytest -q tests/end_to_end

.PHONY: chaos
chaos: $(NEWEST)/.wheel ## Live runs while everything fails at random, compared with the truth; CHAOS_SECONDS=600 SEED=1 CHAOS_WITHOUT= STORAGE=postgres
	$(if $(filter postgres,$(STORAGE)),@$(POSTGRES))
	$(NEWEST)/bin/python tests/chaos/chaos.py --seconds $(or $(CHAOS_SECONDS),600) $(if $(SEED),--seed $(SEED)) --without $(CHAOS_WITHOUT) \
		$(if $(STORAGE),--storage $(STORAGE))

.PHONY: fuzz
fuzz: ## Feed answers and names of all sorts to what reads them, FUZZ_SECONDS=60 each; builds cargo-fuzz first, needs the network
	@setup/debian.sh c++=g++
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	@mkdir -p fuzz/corpus/answers fuzz/corpus/names
	cd fuzz && $(FUZZ) answers corpus/answers seeds/answers -- -max_total_time=$(or $(FUZZ_SECONDS),60) -dict=answers.dict
	cd fuzz && $(FUZZ) names corpus/names seeds/names -- -max_total_time=$(or $(FUZZ_SECONDS),60)

# The sanitizers' flags are a nightly compiler's; this lets the stable one take them.
FUZZ := RUSTC_BOOTSTRAP=1 cargo fuzz run

# A release build, and both sides on one Dagster. The table goes to target/bench/.
.PHONY: bench
bench: $(BENCH)/.release $(BENCH_ORIGINAL)/.ready $(SQLMESH)/.wheel ## Measure beside the original; ONLY=mirror_finished,... SIZES=10,100,1000 REPEAT=3 ORIGINAL_100=1 WITHOUT_ORIGINAL=1 STORAGE=postgres RTT_MS=0,1,5
	$(if $(filter postgres,$(STORAGE)),@$(POSTGRES))
	$(BENCH)/bin/python tests/bench/bench.py --original-python $(BENCH_ORIGINAL)/bin/python --sqlmesh-python $(SQLMESH)/bin/python $(if $(ONLY),--only $(ONLY)) \
		$(if $(SIZES),--sizes $(SIZES)) $(if $(REPEAT),--repeat $(REPEAT)) $(if $(ORIGINAL_100),--original-100) $(if $(STORAGE),--storage $(STORAGE)) \
		$(if $(RTT_MS),--rtt-ms $(RTT_MS)) $(if $(WITHOUT_ORIGINAL),--without-original)

.PHONY: check
check: $(TOOLS)/.ready $(NEWEST)/.ready ## Formatting, lints and types
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(TOOLS)/ruff check --quiet $(PYTHON_CODE)
	$(TOOLS)/ruff format --check --quiet $(PYTHON_CODE)
	cd python_wrapper && ../$(NEWEST)/bin/python -m mypy src/tobikodata
	MYPYPATH=python_wrapper/src:examples/component/src $(NEWEST)/bin/python -m mypy --config-file python_wrapper/pyproject.toml $(TYPED_EXAMPLES)
	$(NEWEST)/bin/python -m pytest -q tests/imports
	$(TOOLS)/kubernetes-validate --strict --quiet $(MANIFESTS)
	python3 setup/lint_references.py
	@echo "check: all is well"

.PHONY: fmt
fmt: $(TOOLS)/.ready ## Format everything
	cargo fmt
	$(TOOLS)/ruff check --quiet --fix $(PYTHON_CODE)
	$(TOOLS)/ruff format --quiet $(PYTHON_CODE)

.PHONY: audit
audit: ## Advisories, licences and sources of the Rust dependencies; builds cargo-deny first, needs the network
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	cargo deny check

# On Linux with Zig's linker, which has every glibc: the wheel installs from glibc 2.17 on (manylinux2014), whatever this machine has.
WHEEL := $(ENVS)/wheel
WHEEL_TARGET ?= $(shell uname -m)-unknown-linux-gnu
WHEEL_COMPATIBILITY ?= manylinux2014
WHEEL_LINKER := $(if $(filter Linux,$(shell uname -s)),--zig --target $(WHEEL_TARGET) --compatibility $(WHEEL_COMPATIBILITY))

.PHONY: wheel
wheel: $(WHEEL)/.ready ## Build the wheel for users into dist/: manylinux2014; WHEEL_TARGET=aarch64-unknown-linux-gnu
	cd python_wrapper && PATH="$(abspath $(WHEEL))/bin:$$PATH" maturin build --release --locked $(WHEEL_LINKER) --out ../dist
	$(if $(WHEEL_LINKER),@$(WHEEL)/bin/auditwheel show dist/tobiko_cloud_scheduler_facade-*$(firstword $(subst -, ,$(WHEEL_TARGET))).whl)

.PHONY: picture
picture: $(NEWEST)/.wheel ## Take docs/live-run.png, the README's picture, in a headless browser
	@setup/debian.sh chromium=chromium chromedriver=chromium-driver
	$(NEWEST)/bin/python tests/end_to_end/picture.py

.PHONY: sdist
sdist: $(WHEEL)/.ready ## Write the source distribution into dist/; whoever installs it needs Rust and a C compiler
	cd python_wrapper && ../$(WHEEL)/bin/maturin sdist --out ../dist

.PHONY: image
image: ## Write the container image into dist/, as the Dockerfile builds it, without a Docker engine
	@setup/debian.sh python:ensurepip=python3-venv cc=gcc strip=binutils
	cargo build --release --locked --quiet --package tobiko_facade
	setup/image/root.sh target/release/tobiko-facade dist/image
	@python3 setup/image/archive.py dist/image dist/tobiko-facade-image.tar $(IMAGE)

.PHONY: clean
clean: ## Remove all that make made
	rm -rf $(ENVS) target dist .demo

# Environments: `.ready` has the dependencies, `.wheel` this project's wheel besides.

$(UV):
	@setup/debian.sh python:ensurepip=python3-venv cc=gcc
	python3 -m venv $(ENVS)/uv
	$(ENVS)/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@touch $@

$(TOOLS)/.ready: setup/requirements/tools.txt $(UV)
	$(UV) venv --quiet --clear $(ENVS)/tools
	$(UV) pip install --quiet --python $(ENVS)/tools --requirement $<
	@touch $@

$(ENVS)/%/.ready: setup/requirements/%.txt $(UV)
	$(UV) venv --quiet --clear $(ENVS)/$*
	$(UV) pip install --quiet --python $(ENVS)/$* --requirement $<
	@touch $@

# The original package, and this one over it, as a user upgrades.
$(UPGRADED)/.wheel: setup/requirements/public-client.txt $(UV) dist/dev/.built
	$(UV) venv --quiet --clear $(UPGRADED)
	$(UV) pip install --quiet --python $(UPGRADED) --requirement $<
	$(UV) pip install --quiet --python $(UPGRADED) --upgrade "$$(ls dist/dev/*.whl)[dagster]"
	@touch $@

$(ENVS)/%/.wheel: $(ENVS)/%/.ready dist/dev/.built
	$(UV) pip install --quiet --python $(ENVS)/$* --no-deps --reinstall dist/dev/*.whl
	@touch $@

$(BENCH)/.release: $(BENCH)/.ready dist/release/.built
	$(UV) pip install --quiet --python $(BENCH) --no-deps --reinstall dist/release/*.whl
	@touch $@

# The original under the Dagster of the other side.
$(BENCH_ORIGINAL)/.ready: $(BENCH)/.ready
	$(UV) venv --quiet --clear $(BENCH_ORIGINAL)
	$(UV) pip freeze --quiet --python $(BENCH) | grep '^dagster' > $(BENCH)/dagster.txt
	$(UV) pip install --quiet --python $(BENCH_ORIGINAL) 'tobiko-cloud-scheduler-facade[dagster]==1.0.9' --requirement $(BENCH)/dagster.txt
	@touch $@

.PRECIOUS: $(ENVS)/%/.ready

# The same wheel as the users', from the development build: what is tested is what is installed.
dist/dev/.built: $(TOOLS)/.ready $(RUST_SOURCES) $(PYTHON_SOURCES)
	@rm -rf dist/dev
	cd python_wrapper && ../$(TOOLS)/maturin build --quiet --profile dev --locked --out ../dist/dev
	@touch $@

$(TOBIKO_TEST_MESSAGES): dist/dev/.built
	cargo build --quiet --locked --package test_messages
	@touch $@

dist/release/.built: $(TOOLS)/.ready $(RUST_SOURCES) $(PYTHON_SOURCES)
	@rm -rf dist/release
	cd python_wrapper && ../$(TOOLS)/maturin build --quiet --release --locked --out ../dist/release
	@touch $@
