# Builds the gateway and puts the program alone into a small image.

FROM rust:1.95-slim-bookworm AS build
# SQLite and a library of the balancer build C code.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The libraries first: this layer stays until the manifest changes. Cargo wants a file for each target of the manifest.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/simulate tests/black_box \
 && touch benches/micro.rs benches/experiment.rs benches/simulate/main.rs tests/black_box/main.rs \
 && echo '//! Nothing yet.' >src/lib.rs \
 && printf '//! Nothing yet.\nfn main() {}\n' >src/main.rs \
 && cargo build --release --locked --bin pointsman
COPY src src
# With `--build-arg PGO=true` everything is built twice more, with a profile taken in between (BENCHMARKS.md).
ARG PGO=false
COPY benches/pgo.sh benches/
COPY benches/side_by_side/gateway.toml benches/side_by_side/
# Files keep their times when they are copied, and Cargo would take what it has just built for newer.
# Line numbers for stack traces stay, compressed: less than half the size.
RUN touch src/lib.rs src/main.rs \
 && if [ "$PGO" = true ]; then \
      rustup component add llvm-tools \
      && benches/pgo.sh \
      && ln target/pgo/release/pointsman program; \
    else \
      cargo build --release --locked --bin pointsman \
      && ln target/release/pointsman program; \
    fi \
 && objcopy --compress-debug-sections=zlib program pointsman

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Pointsman" \
      org.opencontainers.image.description="A reverse-proxy routing gateway that puts a new backend in front of real users without hurting them" \
      org.opencontainers.image.licenses="Apache-2.0"
# The authorities that upstream certificates are verified against, and a place for the store: a volume that is mounted
# there for the first time takes over its owner.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 65532 -g 65532 -m 0750 /var/lib/pointsman
COPY LICENSE /usr/share/doc/pointsman/LICENSE
COPY --from=build /build/pointsman /usr/local/bin/pointsman
# Where SQLite sorts what does not fit into memory: the rest of the root may be read-only.
ENV SQLITE_TMPDIR=/var/lib/pointsman
USER 65532:65532
WORKDIR /etc/pointsman
EXPOSE 8080 9901 9902
# SIGTERM drains: see `[shutdown]`, and give `docker stop --time` more than both of its times.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["pointsman", "healthcheck"]
ENTRYPOINT ["pointsman"]
CMD ["run", "-c", "/etc/pointsman/gateway.toml"]
