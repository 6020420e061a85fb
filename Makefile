# make run    start the gateway on 127.0.0.1:8000 with whatever keys and Ollama are found
# make demo   simulated providers, the gateway, and a policy that does not count beside it
# make test   everything that needs no container engine and no browser      make test-all   that, too
# make test-page   the page in a real Chromium, at /usr/bin/chromium or where CHROMIUM says
# make check  lint, types, architecture                        make bench      the costs, beside peers (bench-ledger: of
#                                                              quotas alone, bench-catalog: of finding who may serve,
#                                                              bench-leavers: what 10 000 who leave leave behind,
#                                                              and how soon the calls made for them end)
# make fuzz   20 000 bent requests and answers, or FUZZ_ARGS="--count N"
# make fuzz-api  every path, asked what its published description allows and what not, or FUZZ_API_ARGS="--count N"
# make soak   ten minutes under load: memory, descriptors and tasks stay flat, or SOAK_ARGS="--seconds N"
# make harvest  what is made of a world of providers and callers, beside simple policies and the best that could have been
# make harvest-traces  the same in our own simulators: how much of the free capacity is used in two days
# make test-vectors  real vectors of a real model go through, which has an environment of its own
# make test-clients  OpenCode, Claude Code, Codex and others do a task through the gateway, or CLIENTS_ARGS="Codex overflow"
# make outage  the attacks on gateways that share a Redis, in a table: what was taken over quota, beside its bound
# make test-kubernetes CONTEXT=kind-kind  the chart in a real cluster, in a namespace of its own: installed, upgraded under load,
#             moved to Redis and back, uninstalled; IMAGE and REDIS_IMAGE name images that it can pull
# make chart-check  the chart's manifests by checkov's rules, which has an environment of its own
# make pictures  each tab of the page, on a desktop and a phone, light and dark, in .pictures/ (needs Chromium)
# make page-figures  what the page costs: bytes, first paint, a long history, a page left open (needs Chromium)
# make docs   the documentation as a site, in .site/; a broken link is an error
# make alerts  the chart's alert rules, for a Prometheus without Kubernetes
# make chart-schema  what the chart's value config may hold, from the gateway's own settings
# make sbom   what the gateway is made of, as sbom.json (CycloneDX)   make audit  known vulnerabilities of that
# make image  the container image, freeway:VERSION       make release VERSION=1.2.3  one version wherever it is named
# make dist   what a release consists of, in dist/: wheel, source distribution, chart, image of this architecture, list of parts
# Each makes its own environment in .venv first.

SHELL := /bin/sh
BIN := .venv/bin
RUN := .venv/.run-installed
DEV := .venv/.dev-installed
BENCH := .venv/.bench-installed
CHECKOV := .venvs/checkov/.installed
AUDIT := .venvs/audit/.installed
VECTORS := .venvs/vectors/.installed
# Bytecode is kept, also where that is switched off: compiling the tests anew takes longer than many of them. Files go to
# processes in the order of their names, quick unit tests last: in xdist's own order those with few and long tests are.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: run demo test test-page test-all test-kubernetes check format bench bench-ledger bench-catalog bench-leavers fuzz \
	fuzz-api soak harvest harvest-traces outage test-clients test-vectors docs pictures page-figures alerts chart-schema \
	chart-check sbom audit lock image packages dist release clean

run: $(RUN)
	@$(BIN)/freeway serve

demo: $(RUN)
	@$(BIN)/freeway demo

test: $(DEV)
	@$(PYTEST) -m "not engine and not browser" $(PYTEST_ARGS)

test-page: $(DEV)
	@$(PYTEST) -m browser $(PYTEST_ARGS)

test-vectors: $(DEV) $(VECTORS)
	@$(PYTEST) -n 0 tests/vectors/real.py $(PYTEST_ARGS)

test-all: $(DEV)
	@$(PYTEST) $(PYTEST_ARGS)

test-kubernetes: $(DEV)
	@test -n "$(CONTEXT)" || { echo "say which cluster: make test-kubernetes CONTEXT=… (kubectl config get-contexts)" >&2; exit 2; }
	@FREEWAY_TEST_CONTEXT="$(CONTEXT)" $(BIN)/pytest -s tests/kubernetes $(PYTEST_ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV)
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-ledger: $(DEV)
	@$(BIN)/python -m tests.bench.ledger

bench-catalog: $(DEV)
	@$(BIN)/python -m tests.bench.catalog

bench-leavers: $(DEV)
	@$(BIN)/python -m tests.bench.leavers

fuzz: $(DEV)
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

fuzz-api: $(DEV)
	@$(BIN)/python -m tests.surfaces.api_fuzz $(FUZZ_API_ARGS)

soak: $(DEV)
	@$(BIN)/python -m tests.bench.soak $(SOAK_ARGS)

harvest: $(BENCH)
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.bench.harvest $(HARVEST_ARGS)

harvest-traces: $(BENCH)
	@$(BIN)/python -m tests.bench.harvest --traces $(HARVEST_ARGS)

outage: $(DEV)
	@$(BIN)/python -m tests.outage $(OUTAGE_ARGS)

test-clients: $(DEV)
	@$(BIN)/python -m tests.clients $(CLIENTS_ARGS)

alerts: $(DEV)
	@$(BIN)/python -m tools.alerts

pictures: $(DEV)
	@$(BIN)/python -m tests.page pictures

page-figures: $(DEV)
	@$(BIN)/python -m tests.page figures

docs: $(DEV)
	@$(BIN)/mkdocs build --strict

chart-schema: $(DEV)
	@$(BIN)/python -m tools.chart_schema

chart-check: $(DEV) $(CHECKOV)
	@rm -rf .venvs/manifests && $(BIN)/python -m tests.chart .venvs/manifests
	@.venvs/checkov/bin/checkov --config-file charts/checkov.yaml --directory .venvs/manifests

sbom: $(AUDIT)
	@.venvs/audit/bin/cyclonedx-py requirements requirements/image.txt --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file sbom.json

audit: $(AUDIT)
	@.venvs/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r requirements/run.txt

# The lock files name versions and hashes, and no package host.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate
# What Litestar and Rich want for examples in documentation, for their own command lines and for coloured code: none of it is
# ever imported here (tests/shipping/test_image.py), and it is a third of the image.
NOT_IN_IMAGE := faker markdown-it-py mdurl polyfactory pygments rich-click
HERE := pyproject.toml tools/build.in --extra embedded
lock: $(DEV)
	$(LOCK) $(HERE) -o requirements/run.txt
	$(LOCK) $(HERE) --group dev -o requirements/dev.txt
	$(LOCK) $(HERE) --group dev --group bench -o requirements/bench.txt
	$(LOCK) pyproject.toml -c requirements/run.txt $(addprefix --no-emit-package ,$(NOT_IN_IMAGE)) -o requirements/image.txt
	$(LOCK) --group image -c requirements/run.txt -o requirements/image-build.txt
	$(LOCK) tools/checkov.in -o requirements/checkov.txt
	$(LOCK) --no-deps tools/vectors.in -o requirements/vectors.txt
	$(LOCK) tools/audit.in -c requirements/image-build.txt -o requirements/audit.txt

NUMBER = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
image:
	DOCKER_BUILDKIT=1 docker build $(IMAGE_ARGS) --build-arg VERSION=$(NUMBER) \
		--build-arg REVISION=$$(git rev-parse HEAD) --tag freeway:$(NUMBER) .

packages: $(DEV)
	rm -rf dist
	$(BIN)/hatchling build -t wheel -t sdist -d dist

dist: packages image
	@$(BIN)/python -m tools.dist chart image parts --tag freeway:$(NUMBER)

release: $(DEV)
	@$(BIN)/python tools/release.py $(VERSION) $$(date -u +%F)

clean:
	rm -rf .venv .venvs

$(RUN): requirements/run.txt pyproject.toml
	@sh tools/environment.sh requirements/run.txt
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml
	@sh tools/environment.sh requirements/dev.txt
	@touch $@ $(RUN)

$(BENCH): requirements/bench.txt pyproject.toml
	@sh tools/environment.sh requirements/bench.txt
	@touch $@ $(DEV) $(RUN)

$(AUDIT): requirements/audit.txt | $(DEV)
	@echo "Installing what $< names …"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venvs/audit
	@$(BIN)/uv pip install --quiet --python .venvs/audit/bin/python --require-hashes -r $<
	@touch $@

$(CHECKOV): requirements/checkov.txt | $(DEV)
	@echo "Installing what $< names …"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venvs/checkov
	@$(BIN)/uv pip install --quiet --python .venvs/checkov/bin/python --require-hashes -r $<
	@touch $@

$(VECTORS): requirements/vectors.txt | $(DEV)
	@echo "Installing what $< names …"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venvs/vectors
	@$(BIN)/uv pip install --quiet --python .venvs/vectors/bin/python --require-hashes --no-deps -r $<
	@touch $@
