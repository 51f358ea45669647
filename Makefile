# What a newcomer runs: `make test` (everything that gates) and `make demo`. Both fetch what they need.

CARGO ?= cargo
FEATURES := --features failpoints
DENY_VERSION := 0.20.2

.PHONY: test fmt lint docs deny servers unit peers build demo

test: fmt lint docs deny servers unit

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	scripts/check-container-files

docs:
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --lib $(FEATURES)

# Licences, sources and banned crates. Advisories need a database from the network: `cargo deny check advisories`.
deny:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked --debug --quiet cargo-deny --version $(DENY_VERSION)
	$(CARGO) deny check licenses bans sources

servers:
	scripts/test-servers

unit:
	scripts/run-tests $(FEATURES)

# The sink against servers that others wrote; their dependencies are many, so it is not part of `test`.
peers:
	cd tests/peers-rs && $(CARGO) test

build:
	$(CARGO) build --release

# Everything on this machine: MySQL, replicator, a local BigQuery; a few minutes the first time.
demo:
	scripts/demo
