# Builds the gateway and puts the program alone into a small image.

FROM rust:1.95-slim-bookworm AS build
# A library of the balancer builds C code.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY benches benches
COPY tests tests
RUN cargo build --release --locked --bin pointsman

FROM debian:bookworm-slim
# The authorities that upstream certificates are verified against.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/pointsman /usr/local/bin/pointsman
USER 65532:65532
WORKDIR /etc/pointsman
EXPOSE 8080 9901 9902
# SIGTERM drains: see `[shutdown]`, and give `docker stop --time` more than both of its times.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["pointsman", "healthcheck"]
ENTRYPOINT ["pointsman"]
CMD ["run", "-c", "/etc/pointsman/gateway.toml"]
