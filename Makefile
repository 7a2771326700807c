# Everything here works on a Debian 12 with Go and make; what else is needed is installed first.
# As root, or with sudo: `make demo` and `make test` make network namespaces and run containerd in them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X github.com/piswarm/piswarm/agent.Version=$(VERSION) -X github.com/piswarm/piswarm/agent.Commit=$(COMMIT)
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

.PHONY: help demo test test-unit test-fuzz fuzz test-e2e soak build cross reproducible vuln packages test-packages image test-image bench lint clean setup setup-test greeter

# What is released is built by the Go that go.mod names, for which no hole of its library is known.
cross reproducible vuln packages image: export GOTOOLCHAIN = $(shell sed -n 's/^toolchain //p' go.mod)

help:
	@awk -F ' ## ' '/^[a-z-]+:.* ## / { split($$1, t, ":"); printf "%-10s %s\n", t[1], $$2 }' Makefile

demo: setup build greeter ## three virtual Pis serve the greeters
	testdata/demo.sh build/piswarm build/greeter.tar

test: lint test-unit test-fuzz test-e2e ## everything that CI runs

test-unit: setup-test ## every package but the whole clusters, with the race detector
	$(GO) test -race -count=1 -timeout 20m $$($(GO) list ./... ./testdata/greeter/... ./testdata/escape | grep -v -e /agent/e2e -e /images/trial)
	# Real members of serf in virtual time crash the race detector of Go 1.26 now and then, in timers of memberlist's.
	$(GO) test -count=1 -timeout 5m ./agent/internal/replication ./agent/internal/gossip

test-fuzz: setup-test ## ten thousand tries of each fuzz target
	# Counted, for at the end of a time Go takes its own deadline for a failure now and then: go.dev/issue/75804.
	GO='$(GO)' FUZZTIME=10000x testdata/fuzz.sh

fuzz: setup-test ## ten minutes of each fuzz target, or FUZZTIME; hours in all
	GO='$(GO)' testdata/fuzz.sh

test-e2e: setup-test build greeter ## whole clusters of virtual Pis
	$(GO) test -count=1 -timeout 30m ./agent/e2e/...

soak: setup-test build greeter ## the long series of failures, which takes hours
	PISWARM_SEEDS=10000 $(GO) test -count=1 -timeout 6h -run 'Simulation' ./pkg/state
	$(GO) run ./agent/e2e/bench -only detection -lossy 10m -o detection.json
	PISWARM_SOAK=1 $(GO) test -count=1 -v -timeout 6h ./agent/e2e

build: ## the program for this machine
	$(BUILD) -o build/piswarm ./agent/cmd/piswarm

greeter: ## the example image, for every kind of Pi
	$(GO) run ./testdata/greeter/image -o build/greeter.tar

cross: ## the program for every kind of Pi and for a PC, the command line for macOS and Windows, with checksums
	GO='$(GO)' VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' cross/build.sh

reproducible: ## shows that the same commit makes the same bytes, wherever it is built
	GO='$(GO)' LDFLAGS='$(LDFLAGS)' cross/reproducible.sh

vuln: ## looks for known holes in what the program is made of
	GO='$(GO)' cross/vuln.sh

packages: cross ## Debian packages for every kind of Pi, and for a PC
	GO='$(GO)' VERSION='$(VERSION)' cross/package.sh

test-packages: ## installs, upgrades and removes the Debian package in a Debian of its own
	@cross/setup.sh
	GO='$(GO)' cross/test.sh

image: ## an SD card's image for BOARD=zero|pi2|pi3, with a token of its own, or TOKEN=none
	images/setup.sh
	@GO='$(GO)' VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' TOKEN='$(TOKEN)' images/build.sh $(BOARD) # the token is not shown

test-image: greeter ## boots the image of BOARD=zero|pi3 in QEMU: two Pis, a cluster, a power cut; half an hour
	images/setup.sh test
	$(GO) test -count=1 -v -timeout 2h ./images/trial -board '$(BOARD)'

bench: setup-test build greeter cross ## figures beside their targets; writes bench.json
	testdata/proxies.sh build/proxies
	$(GO) test -run '^$$' -bench . -benchtime 1x ./agent/internal/dashboard
	CGO_ENABLED=0 $(GO) run ./agent/e2e/bench -o bench.json # it runs in containers without a libc, too

lint: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./... ./testdata/greeter/... ./testdata/escape
	$(GO) tool staticcheck ./... ./testdata/greeter/... ./testdata/escape

clean:
	rm -rf build bench.json detection.json

setup: # installs what is missing, and touches nothing that is there
	@testdata/setup.sh

setup-test: # and what the tests need besides
	@testdata/setup.sh test
	@testdata/axe.sh build/axe.min.js
