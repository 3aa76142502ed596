# Every target works on a fresh machine with Node >= 20, npm and make: the first one that needs packages
# installs them, once. The `node` package brings the Node that everything runs on.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
# onnxruntime-node brings its CPU engine in the package; its install script would only fetch CUDA.
export ONNXRUNTIME_NODE_INSTALL := skip
# It has a collector of usage data built in; the runtime turns it off for itself, this is for tests and benchmarks.
export ORT_DISABLE_TELEMETRY := 1

INSTALLED := node_modules/.package-lock.json

# What people give on the command line, for the programs below.
export KEEP ONLY

.PHONY: help install demo test e2e check format generate interop bench images cluster platform cluster-down clean

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

install: $(INSTALLED) ## Install the packages that the lockfile names

$(INSTALLED): package.json package-lock.json
	@test ! -L node_modules || { echo 'node_modules is a link: install where it leads'; exit 1; }
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

demo: $(INSTALLED) ## Serve a real model from nothing, watch it scale, put it out (KEEP=1 stays up)
	@node cli/demo/main.ts $(if $(KEEP),--keep)

test: $(INSTALLED) ## All tests: units, properties, and whole platforms on this machine
	@node e2e/run-tests.ts

e2e: $(INSTALLED) ## The chart, the images and the platform on a real cluster (KEEP=1 leaves it, ONLY=<case> runs one)
	@node e2e/run-cluster.ts

check: $(INSTALLED) ## Types, lint, format, borders, generated files, unused code
	tsc -p .
	oxlint --type-aware --deny-warnings
	biome check --error-on-warnings .
	node crds/generate.ts --check
	node charts/generate.ts --check
	node runtime/server/grpc/generate.ts --check
	node runtime/openapi/generate.ts --check
	knip
	vitest run --project unit e2e/structure

format: $(INSTALLED) ## Write the format that `make check` wants
	biome check --write .

generate: $(INSTALLED) ## Write the files that are generated from schemas
	node crds/generate.ts
	node charts/generate.ts
	node runtime/server/grpc/generate.ts
	node runtime/openapi/generate.ts

interop: $(INSTALLED) ## Run clients of the protocol from PyPI against it: tritonclient, KServe's SDK, open-inference-openapi (needs Python >= 3.10)
	@node e2e/interop/run.ts

bench: $(INSTALLED) ## Run a benchmark: WHAT=cold-start, cold-start-sizes, warm, queue, scale, runtime, memory, kubernetes, json, batching, python-servers (needs Python >= 3.10) or all
	@node bench/main.ts $(WHAT)

images: $(INSTALLED) ## Build the container images: TAG=…, REPOSITORY=… and BASE=… change the names
	@node images/build.ts $(if $(TAG),--tag $(TAG)) $(if $(REPOSITORY),--repository $(REPOSITORY)) $(if $(BASE),--base $(BASE))

cluster: $(INSTALLED) ## Create the kind cluster of the end-to-end tests, with all that it takes
	@node e2e/cluster/main.ts up

platform: $(INSTALLED) ## That cluster with Pilotlight on it; prints what a shell needs: eval "$$(make -s platform)"
	@node e2e/cluster/main.ts platform

cluster-down: $(INSTALLED) ## Remove that cluster and everything that came with it
	@node e2e/cluster/main.ts down

clean: ## Remove what was installed and built
	rm -rf node_modules coverage
