# What a person types here. 'make help' lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
# Each keeps up to two machines running, of 2 GiB. Starts of emulated kernels wait for each other: a third fills that.
BOOT_WORKERS := 3
IMAGE_WORKERS := 2
# A unit test that hangs says where, and ends the run.
# A test that fails is run once more at the end; if it passes then, the run is green and says which was flaky.
AGAIN := --vm-rerun 1 --vm-results out/test-results
UNIT := $(PYTEST) -q -m unit -o faulthandler_timeout=60 -o faulthandler_exit_on_timeout=true tests
.DEFAULT_GOAL := help
.PHONY: help venv demo demo-update check test unit image-test boot-test slow-test fuzz bench boot-profile filters schema reference format lock-python clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

$(VENV)/.done: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "build-os needs Python 3.11 or newer; PYTHON=... names one"; exit 3; }
	@$(PYTHON) -c 'import ensurepip' || { echo "$(PYTHON) has no ensurepip: install it (on Debian: python3-venv)"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

venv: $(VENV)/.done  ## .venv with the build-os command in it

demo: venv  ## build the demo, boot it, see its container answer (KEEP=1 leaves it running)
	$(BIN)/build-os demo $(if $(KEEP),--keep)

demo-update: venv  ## two versions, a server on loopback, a machine that updates itself and goes back
	$(BIN)/build-os demo --updates

check: venv  ## format, lint, types, import contracts, unit tests: under a minute
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	$(UNIT)

# Two workers that boot leave a part of the machine idle, and tests of images do not mind being slow: they run beside.
test: BOOT_WORKERS := 2
test: check  ## everything, from unit tests to real boots
	$(PYTEST) -q -m "conformance and not unit and not slow" tests
	@$(MAKE) --no-print-directory -j 2 BOOT_WORKERS=$(BOOT_WORKERS) boot-test image-test-beside

.PHONY: image-test-beside
image-test-beside: venv
	@mkdir -p out; nice -n 19 $(MAKE) --no-print-directory image-test > out/image-test.log 2>&1; status=$$?; \
	  echo; cat out/image-test.log; exit $$status

unit: venv  ## only the unit tests
	$(UNIT)

image-test: venv  ## tests that build images, in IMAGE_WORKERS (2) processes
	$(PYTEST) -q -m "image and not slow" -n $(IMAGE_WORKERS) --dist loadfile $(AGAIN)/image tests/image

boot-test: venv  ## tests that boot virtual machines, in BOOT_WORKERS (3) processes
	$(PYTEST) -q -m "boot and not slow" -n $(BOOT_WORKERS) --dist loadscope $(AGAIN)/boot tests/boot

fuzz: venv  ## every fuzz test, FUZZ (30) times as long, below OF (tests/unit): it says how many examples were tried
	FUZZ=$(or $(FUZZ),30) $(PYTEST) -q $(shell grep -rl 'tests.support.fuzz' $(or $(OF),tests/unit))

slow-test: venv  ## proofs that CI leaves out: minutes, and downloads
	$(PYTEST) -q -m slow tests

bench: venv  ## the numbers of docs/performance.md, beside mkosi where it is installed
	$(BIN)/python -m tests.bench

boot-profile: venv  ## where the instructions of a boot go: a picture, and the runs before, in out/boot-profile
	$(BIN)/python -m tests.bench --only boot-profile

filters: venv  ## ask sed, grep and the like anew what unit tests want to know of them
	RECORD_FILTERS=1 $(PYTEST) -q -m unit tests/unit/debian/scripts tests/unit/stages

schema: venv  ## write configs/schema.json and configs/matrix-schema.json anew
	$(BIN)/build-os schema > configs/schema.json.new && mv configs/schema.json.new configs/schema.json
	$(BIN)/build-os schema --matrix > configs/matrix-schema.json.new && mv configs/matrix-schema.json.new configs/matrix-schema.json

reference: venv  ## write docs/config-reference.md, configs/machine-schema.json, the lists of platforms and the tables of outputs anew
	$(BIN)/python -m builder.products.tables .
	$(BIN)/build-os config reference > docs/config-reference.md.new && mv docs/config-reference.md.new docs/config-reference.md
	$(BIN)/build-os config schema > configs/machine-schema.json.new && mv configs/machine-schema.json.new configs/machine-schema.json
	$(BIN)/python -m tests.support.house_map
	$(BIN)/python -m tests.unit.docs.platform_lists

format: venv  ## format the code
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

lock-python: venv  ## resolve the Python dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock-python" --extra dev pyproject.toml -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock-python" pyproject.toml -o requirements/runtime.txt

clean:  ## remove what was built here (the store is kept: 'build-os cache clear')
	rm -rf out $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
