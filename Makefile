# What a newcomer runs: `make test` (everything that gates) and `make demo`. Both fetch what they need.

CARGO ?= cargo
FEATURES := --features failpoints
# Where fetched servers and tools are kept.
CACHE := $(or $(REPLICATOR_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/replicator)
DENY_VERSION := 0.20.2

.PHONY: fuzz soak test test-live test-against fmt lint docs deny servers unit peers build bench demo

test: fmt lint docs deny servers unit peers

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	scripts/check-container-files

docs:
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --lib $(FEATURES)

# Licences, sources and banned crates; known vulnerabilities too where their database can be reached.
deny: export PATH := $(CACHE)/tools/bin:$(PATH)
deny:
	@command -v cargo-deny >/dev/null || { echo "building cargo-deny, once"; \
	  $(CARGO) install --quiet --locked --debug --root $(CACHE)/tools cargo-deny --version $(DENY_VERSION); }
	$(CARGO) deny check licenses bans sources
	@if timeout 60 $(CARGO) deny fetch db >/dev/null 2>&1; then $(CARGO) deny check advisories; \
	  else echo "advisories not checked: their database cannot be reached"; fi

servers:
	scripts/test-servers

unit:
	scripts/run-tests $(FEATURES)

# The sink against a server that others wrote. A workspace of its own: its dependencies are many.
peers:
	cd tests/peers-rs && $(CARGO) test

# The beliefs about BigQuery on Google's service, in an existing data set; see docs/unproven.md.
test-live: export REPLICATOR_LIVE_PROJECT := $(PROJECT)
test-live: export REPLICATOR_LIVE_DATASET := $(DATASET)
test-live: export REPLICATOR_LIVE_LOCATION := $(LOCATION)
test-live: export REPLICATOR_LIVE_MAX_BYTES := $(MAX_BYTES)
test-live:
	@test -n "$(PROJECT)" && test -n "$(DATASET)" || \
	  { echo "say make test-live PROJECT=… DATASET=… [LOCATION=…] [MAX_BYTES=…]"; exit 2; }
	$(CARGO) test --test conformance bigquery_is_as_believed -- --exact --nocapture

# Every type, key and change of tables on a server of yours, in a schema that is made and dropped; see docs/operations.md.
test-against: export REPLICATOR_AGAINST_URL := $(URL)
test-against: export REPLICATOR_AGAINST_TLS := $(TLS)
test-against: export REPLICATOR_AGAINST_CA := $(CA)
test-against: export REPLICATOR_AGAINST_AUTH := $(AUTH)
test-against:
	@test -n "$(URL)" || { echo "say make test-against URL=mysql://user:password@host:port [TLS=disabled|required|verify_ca|verify_identity] \
	[CA=/path/ca.pem] [AUTH=password|rds_iam]"; exit 2; }
	$(CARGO) test --test against -- --nocapture

# Every parser of bytes from outside under libFuzzer, from the seeds in fuzz/corpus, which `make test` runs too. Needs g++.
SECONDS ?= 600
fuzz:
	scripts/fuzz $(SECONDS)

# Random programs of statements on a real server, through kills, with other seeds each time: SECONDS of them.
soak:
	scripts/soak $(SECONDS)

build:
	$(CARGO) build --release

# Throughput against mysqlbinlog, a decode-only loop and mysqldump, on a server of its own; writes benches/RESULTS.md.
BENCH_ROWS ?= 600000
BENCH_ROUNDS ?= 5
bench:
	scripts/fetch-mysql mysql >/dev/null
	$(CARGO) bench --bench pipeline -- --rows $(BENCH_ROWS) --rounds $(BENCH_ROUNDS)

# Everything on this machine: MySQL, replicator, a local BigQuery; a few minutes the first time.
demo:
	scripts/demo
