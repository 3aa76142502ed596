# Every target works on a fresh machine with Node >= 20, npm and make: the first one that needs
# packages installs them, once. The `node` package brings the Node that everything runs on.
SHELL := /bin/bash
BIN := node_modules/.bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ONNXRUNTIME_NODE_INSTALL := skip

.PHONY: check
INSTALLED := node_modules/.package-lock.json

$(INSTALLED): package.json package-lock.json
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

check: $(INSTALLED)
	tsc -p .
	oxlint --type-aware --deny-warnings
	biome check --error-on-warnings .
