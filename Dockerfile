# The image that KubernetesLauncher runs. `make image` writes the same one without a Docker engine.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN cargo build --release --locked --package tobiko_facade
COPY setup/image/root.sh setup/image/
RUN setup/image/root.sh target/release/tobiko-facade /image

FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/local/bin
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
ENTRYPOINT ["tobiko-facade"]
