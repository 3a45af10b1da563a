# Orchwatch with everything that its commands need: the workload of docker-compose.yml's profile `demo`.
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
FROM ${PYTHON} AS build
WORKDIR /src
COPY requirements/image.txt requirements/
RUN python -m venv /opt/orchwatch \
    && /opt/orchwatch/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes -r requirements/image.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY instrumentation instrumentation
# The build backend is in the lock file as well: an isolated build would fetch one that no hash pins.
RUN /opt/orchwatch/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps --no-build-isolation .

FROM ${PYTHON}
COPY --from=build /opt/orchwatch /opt/orchwatch
USER 1000:1000
ENTRYPOINT ["/opt/orchwatch/bin/orchwatch"]
