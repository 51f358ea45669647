# The program alone on a small Debian. Build: docker build -t replicator .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# .dockerignore says what that is.
COPY . .
RUN cargo build --release --locked --bin replicator

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/replicator --create-home replicator
COPY --from=build /src/target/release/replicator /usr/local/bin/replicator
USER 10001
VOLUME /var/lib/replicator
EXPOSE 8080
# Kubernetes asks /livez and /readyz itself; this is for plain Docker.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:8080/livez"]
ENTRYPOINT ["replicator"]
CMD ["run", "--config", "/etc/replicator/config.yaml"]
