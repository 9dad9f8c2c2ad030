# The whole project from one place. `make check` is what CI runs.
GO     ?= go
TOOLS  := $(GO) tool -modfile=tools.mod
LINT   := $(GO) tool -modfile=lint.mod
TESTS  := $(GO) test -race -shuffle=on ./...

.PHONY: check test peers generate drift proto format vet lint tidy vuln bench mutants fuzz demo

check: format vet proto drift tidy lint test vuln

test:
	$(TESTS)

# Programs of others that some tests talk to: an MCP server from npm, an authorization
# server. Without them those tests are skipped.
peers:
	./build/peers.sh

generate:
	./build/proto.sh generate

drift:
	./build/proto.sh drift

proto:
	./build/proto.sh lint
	./build/proto.sh format
	./build/proto.sh breaking

format:
	@out=$$(gofmt -l $$(git ls-files '*.go' | grep -v '^gen/')); test -z "$$out" || { echo "not gofmt-ed, run: gofmt -w" $$out; exit 1; }

vet:
	$(GO) vet ./...

lint:
	$(LINT) golangci-lint run ./...

tidy:
	$(GO) mod tidy -diff

# The vulnerability database is a service elsewhere: where it cannot be
# reached, say so instead of failing or pretending.
vuln:
	@$(LINT) govulncheck ./... ; rc=$$?; \
	if [ $$rc -eq 3 ]; then exit 3; fi; \
	if [ $$rc -ne 0 ]; then echo "govulncheck SKIPPED: its database cannot be reached from here (exit $$rc)"; fi

bench:
	$(GO) run ./bench

# Breaks one guarantee at a time and sees that the tests notice: some minutes, and
# no part of check. That the mutants still fit the code is part of test.
mutants:
	$(GO) run ./build/mutants

fuzz:
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz'); do \
	  echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 20s $$p || exit 1; done; done

demo:
	$(GO) run ./cmd/behalf demo
