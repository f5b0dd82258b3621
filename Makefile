# Every command a person or CI runs. A recipe longer than five lines becomes a Go program.
BIN    := $(CURDIR)/.bin
BASE   ?= HEAD
GO_MIN := $(shell awk '$$1 == "go" { print $$2 }' go.work)
MODS    = $(shell go list -m -f '{{.Dir}}')

BUF_VERSION  := 1.75.0
LINT_VERSION := v2.15.0
GREMLINS_VERSION := v0.6.0
TEMPL_VERSION := v0.3.977
VULN_VERSION  := v1.9.0
VULNDB        ?= ../shared/data/vulndb.tgz

# One set of flags for every build: a second set would compile the world twice.
export GOFLAGS := -trimpath -buildvcs=false
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help up down reset tour test race e2e chaos chaos-money bench bench-go bench-audit lint mutate proto proto-check console console-check shots attack vuln islands tidy tools ci need-go dev

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: dev ## Start the suite and follow its logs; Ctrl-C stops it (DETACH=1 returns when it is ready)
	@exec $(BIN)/dev up $(if $(DETACH),-detach)

down: dev ## Stop a detached suite
	@$(BIN)/dev down

reset: dev ## Stop the suite and empty its data directory
	@$(BIN)/dev reset

tour: need-go ## Walk the main job through the public API of the running suite
	@go build -C deploy -o $(BIN)/tour ./tour
	@exec $(BIN)/tour

test: dev ## Test every module against real Postgres and Redis, which it starts itself
	@$(BIN)/dev testservers -- go test -count=1 -p 2 -timeout 15m work

race: dev ## The same with the race detector, for what runs goroutines
	@$(BIN)/dev testservers -- go test -race -count=1 -p 2 -timeout 20m ./pkg/... ./gateway/... $(addsuffix /...,$(wildcard ./services/*/.))

e2e: dev ## Only the black-box tests of the real binaries
	@$(BIN)/dev testservers -- go test -count=1 -timeout 15m ./deploy/e2e/...

chaos: dev ## 500 kills of producer, relay, audit and PostgreSQL under load: CYCLES= SEED= (some ten minutes)
	@MANAS_CHAOS_CYCLES=$(or $(CYCLES),500) MANAS_CHAOS_SEED=$(SEED) $(BIN)/dev testservers -- \
		go test -count=1 -v -timeout 60m -run 'TestTrailSurvives|TestRestoredDumpGoesOn|TestNothingLostNothingDoubled' ./deploy/chaos

chaos-money: need-go ## 10,000 payments while everything is killed: PAYMENTS= REFUNDS= KILLS= SEED= OUT= (some minutes)
	@go build -C deploy -o $(BIN)/chaosmoney ./cmd/chaosmoney
	@exec $(BIN)/chaosmoney $(if $(PAYMENTS),-payments $(PAYMENTS)) $(if $(REFUNDS),-refunds $(REFUNDS)) \
		$(if $(KILLS),-kills $(KILLS)) $(if $(SEED),-seed $(SEED)) $(if $(OUT),-out $(OUT))

bench: need-go ## Measure the suite under load beside yardsticks of the same run; BENCH=short takes two minutes; report and plot in .data/bench
	@go build -C deploy -o $(BIN)/bench ./cmd/bench
	@exec $(BIN)/bench $(if $(filter short,$(BENCH)),-short)

bench-go: dev ## Run every benchmark of the packages (BENCHTIME=1x to see only that they live)
	@$(BIN)/dev testservers -- go test -run '^$$' -bench . -benchtime $(or $(BENCHTIME),1s) -p 1 work

bench-audit: need-go ## Measure the audit log on a durable PostgreSQL of its own; MANAS_LONG=1 for ten million events; report in deploy/bench
	@MANAS_BENCH=$(CURDIR)/deploy/bench go test -C services/audit -count=1 -run TestBenchAudit -timeout 3h -v .

lint: $(BIN)/golangci-lint ## Lint every module
	@golangci-lint run $(MODS:%=%/...)

proto: need-go $(BIN)/buf ## Generate Go, gateway and OpenAPI code from the contracts
	@go run ./proto/internal/vendorproto proto/third_party
	@buf format -w
	@buf generate

proto-check: need-go $(BIN)/buf ## Fail if generated code is stale or a contract breaks BASE (HEAD)
	@rm -rf .cache/proto && mkdir -p .cache && cp -a proto .cache/proto
	@$(MAKE) --no-print-directory proto
	@diff -rq .cache/proto proto || { echo "proto/ was stale; it is fresh now: commit it with its source" >&2; exit 1; }
	@buf lint
	@! git cat-file -e '$(BASE):proto/manas' 2>/dev/null || buf breaking --against '.git#ref=$(BASE)'

console: need-go $(BIN)/templ ## Generate the console's Go code from its templates
	@cd gateway/console && templ generate -log-level warn

console-check: need-go $(BIN)/templ ## Fail if the console's generated code is stale
	@rm -rf .cache/console && mkdir -p .cache && cp -a gateway/console .cache/console
	@$(MAKE) --no-print-directory console
	@diff -rq .cache/console gateway/console || { echo "gateway/console was stale; it is fresh now: commit it with its source" >&2; exit 1; }

attack: dev ## Send every operation what no honest client would, all of it: MANAS_SEED= (some minutes)
	@MANAS_LONG=1 $(BIN)/dev testservers -- go test -count=1 -timeout 20m -v -run TestNothingBreaksAnOperation ./deploy/e2e/

vuln: need-go $(BIN)/govulncheck ## Look for known vulnerabilities in every program; VULNDB= is the database, an archive
	@rm -rf .cache/vuln && mkdir -p .cache/vuln/bin
	@if [ ! -f "$(VULNDB)" ]; then echo "SKIPPED: no database of vulnerabilities at $(VULNDB); say VULNDB=archive.tgz" >&2; exit 0; fi; \
		tar xzf "$(VULNDB)" -C .cache/vuln && go build -o .cache/vuln/bin/ $$(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' $(MODS:%=%/...) | grep -E '/(services|gateway)/.*/cmd/') \
		&& for program in .cache/vuln/bin/*; do echo "$${program##*/}"; govulncheck -db "file://$(CURDIR)/.cache/vuln/db" -mode binary "$$program" || exit 1; done

shots: dev ## Take a screenshot of every page of the console, both themes, phone and desktop, into .data/shots
	@MANAS_SHOTS=$(CURDIR)/.data/shots $(BIN)/dev testservers -- go test -count=1 -v -run TestConsoleWalk ./deploy/e2e/

mutate: need-go $(BIN)/gremlins ## Change the money's pure packages and see whether their tests notice (90 % must be)
	@go run ./deploy/cmd/mutate -gremlins $(BIN)/gremlins $(or $(PACKAGES),pkg/money services/payment/factstate services/payment/ledger services/payment/signature services/subscription/grant services/subscription/gst services/subscription/lifecycle services/subscription/period services/subscription/proration)

islands: need-go ## Build each module alone: nobody reaches past their go.mod
	@for m in $(MODS); do echo "$$m"; (cd "$$m" && GOWORK=off go build ./... && GOWORK=off go mod tidy -diff) || exit 1; done

tidy: need-go ## Tidy every go.mod
	@for m in $(MODS); do (cd "$$m" && GOWORK=off go mod tidy) || exit 1; done

ci: ## What CI runs
	@.ci/run

tools: $(BIN)/buf $(BIN)/golangci-lint ## Install buf and golangci-lint into .bin

dev: need-go
	@echo "building the supervisor…" >&2
	@go build -C deploy -o $(BIN)/dev ./dev & pid=$$!; n=0; while kill -0 $$pid 2>/dev/null; do sleep 0.2; n=$$((n + 1)); \
		[ $$((n % 25)) -ne 0 ] || echo "building the supervisor… $$((n / 5)) s; the first build takes minutes" >&2; done; wait $$pid

need-go:
	@command -v go >/dev/null || { echo "Go $(GO_MIN) or newer is needed and there is no go on PATH: see https://go.dev/doc/install" >&2; exit 1; }
	@have=$$(go env GOVERSION 2>/dev/null); printf 'go%s\n%s\n' $(GO_MIN) "$${have:-go0}" | sort -V -C \
		|| { echo "Go $(GO_MIN) or newer is needed, this is $${have:-an older one}: see https://go.dev/doc/install" >&2; exit 1; }

# npm carries the built binary: seconds instead of minutes.
$(BIN)/buf: | need-go
	@echo "installing buf $(BUF_VERSION)…" >&2; mkdir -p $(BIN)
	@{ command -v npm >/dev/null && npm install --silent --no-save --prefix .cache/npm @bufbuild/buf@$(BUF_VERSION) >&2 \
		&& cp .cache/npm/node_modules/@bufbuild/buf-*/bin/buf $@; } \
		|| GOBIN=$(BIN) go install github.com/bufbuild/buf/cmd/buf@v$(BUF_VERSION)

$(BIN)/golangci-lint: | need-go
	@echo "building golangci-lint $(LINT_VERSION), some minutes the first time…" >&2
	@GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

$(BIN)/templ: | need-go
	@GOBIN=$(BIN) go install github.com/a-h/templ/cmd/templ@$(TEMPL_VERSION)

$(BIN)/govulncheck: | need-go
	@GOBIN=$(BIN) go install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)

$(BIN)/gremlins: | need-go
	@echo "building gremlins $(GREMLINS_VERSION)…" >&2
	@GOBIN=$(BIN) go install github.com/go-gremlins/gremlins/cmd/gremlins@$(GREMLINS_VERSION)
