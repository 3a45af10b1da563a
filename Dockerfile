# Orchwatch with everything that its commands need: the workload of docker-compose.yml's profile `demo`.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY requirements/image.txt requirements/
RUN python -m venv /opt/orchwatch \
    && /opt/orchwatch/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY instrumentation instrumentation
# The build backend is in the lock file as well: an isolated build would fetch one that no hash pins.
RUN /opt/orchwatch/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/orchwatch /opt/orchwatch
USER 1000:1000
ENTRYPOINT ["/opt/orchwatch/bin/orchwatch"]
