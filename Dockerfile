# millrace, and the simulator of external systems for trying it out:
#
#   docker build --target millrace --tag millrace .
#   docker build --target simulator --tag millrace-simulator .
#
# scripts/deployment checks what can be checked without an engine.

FROM rust:1.95.0-slim-bookworm AS build
# Kafka's client is built with make; OpenSSL and zlib are Debian's.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# Backtraces keep their functions, not their lines: 44 MB instead of 206.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo

# A layer of the dependencies alone, which changes with a manifest only: every crate of ours is empty in it.
COPY Cargo.toml Cargo.lock ./
COPY schemas/Cargo.toml schemas/
COPY processors/domain/Cargo.toml processors/domain/
COPY processors/kafka/Cargo.toml processors/kafka/
COPY processors/memory/Cargo.toml processors/memory/
COPY processors/store/Cargo.toml processors/store/
COPY processors/engine/Cargo.toml processors/engine/
COPY processors/ops/Cargo.toml processors/ops/
COPY processors/gateway/Cargo.toml processors/gateway/
COPY processors/app/Cargo.toml processors/app/
COPY simulator/Cargo.toml simulator/
COPY testkit/Cargo.toml testkit/
COPY tests/Cargo.toml tests/
COPY bench/Cargo.toml bench/
RUN for crate in schemas processors/* simulator testkit tests bench; do \
      mkdir -p "$crate/src" && touch "$crate/src/lib.rs" && echo 'fn main() {}' > "$crate/src/main.rs"; \
    done \
 && mkdir -p tests/stories tests/upgrade bench/benches \
 && cp simulator/src/main.rs tests/src/simulator.rs \
 && cp simulator/src/main.rs tests/stories/main.rs \
 && cp simulator/src/main.rs tests/upgrade/main.rs \
 && cp simulator/src/main.rs bench/benches/hot_path.rs
RUN cargo build --release --locked --package millrace --package millrace-simulator \
 && rm -rf target/release/.fingerprint/millrace* schemas processors simulator

COPY schemas schemas
COPY connectors/outbox.json connectors/
COPY docs/configuration.md docs/
COPY processors processors
COPY simulator simulator
RUN cargo build --release --locked --package millrace --package millrace-simulator

FROM debian:12.12-slim AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin millrace
USER 10001:10001

FROM base AS simulator
COPY --from=build /build/target/release/millrace-simulator /usr/local/bin/
ENTRYPOINT ["millrace-simulator"]

# The last target is the one that is built unless another is named.
FROM base AS millrace
COPY --from=build /build/target/release/millrace /usr/local/bin/
EXPOSE 9464
# Where `http.listen` has its default, or all addresses on the same port. There is no curl in the image, and bash there is.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3 | grep -q ' 200'"]
ENTRYPOINT ["millrace"]
CMD ["run"]
