# One image for the control plane, the watchdog and the node agent. The base is pinned by version; where your registry
# policy asks for a digest, say so here, once: docker build --build-arg BASE=python:3.11.11-slim-bookworm@sha256:...
# There is no HEALTHCHECK: each command has another port, or none. The manifests have the probes.
ARG BASE=python:3.11.11-slim-bookworm
FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/askew
COPY requirements-image.lock pyproject.toml README.md LICENSE ./
RUN /opt/askew/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-image.lock
COPY allocators allocators
COPY askew askew
COPY enforcer enforcer
COPY estimators estimators
COPY istio istio
COPY lab lab
COPY mesh mesh
COPY xds_server xds_server
RUN /opt/askew/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/askew/bin/python -m pip uninstall --yes setuptools pip

FROM ${BASE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin askew
COPY --from=build /opt/askew /opt/askew
ENV PATH=/opt/askew/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
ENTRYPOINT ["askew"]
CMD ["--help"]
