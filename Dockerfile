# Tallybridge as a container image: `make image` builds it, docs/container.md says how to run it.
#
# Any base with Python 3.11 or newer will do, Debian's own as well: nothing here assumes where
# Python lives. The build stage needs Python's venv module, the final stage only Python.
ARG BASE_IMAGE=python:3.11-slim
ARG BUILD_IMAGE=${BASE_IMAGE}

# --- build: the libraries, the app, everything compiled ---------------------------------------
FROM ${BUILD_IMAGE} AS build
ARG PYTHON=python3

# pip stays behind in /tools: the environment that is copied holds libraries only.
RUN "$PYTHON" -m venv /tools && "$PYTHON" -m venv --without-pip /venv

# Ready-made packages only, each checked by its hash. Whoever installs from an index of their own
# hands in their pip.conf as the build secret `pip_conf`; it is in no layer of the image.
COPY requirements.txt /build/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /tools/bin/python -m pip --python /venv/bin/python install \
        --no-cache-dir --no-compile --disable-pip-version-check --root-user-action=ignore \
        --require-hashes --no-deps --only-binary=:all: -r /build/requirements.txt

# .dockerignore says what comes along. Modes are set here, so that a clone made under a strict
# umask works too. Compiled once and for all: where nothing can be written, Python cannot do it.
COPY . /app/
RUN rm /app/requirements.txt \
    && chmod -R u=rwX,go=rX /app /venv \
    && chmod 755 /app/scripts/tallybridge \
    && ln -s /app/scripts/tallybridge /venv/bin/tallybridge \
    && /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /venv/lib /app

# --- the image --------------------------------------------------------------------------------
FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=

LABEL org.opencontainers.image.title="Tallybridge" \
      org.opencontainers.image.description="Keeps ConnectWise PSA agreement additions right from Sophos usage" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

# No program may lend its rights (setuid), nothing can install anything, and /data belongs to
# group 0, which is the group of a user id that a platform makes up.
RUN find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip \
        /usr/local/lib/python3*/site-packages/pip* \
    && mkdir -p /data && chown 10001:0 /data && chmod 770 /data

COPY --from=build /venv /venv
COPY --from=build /app /app

ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    BIND=0.0.0.0 \
    PORT=8000 \
    TALLYBRIDGE_DATA_DIR=/data

WORKDIR /app
VOLUME /data
EXPOSE 8000
USER 10001:0
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/app/scripts/healthcheck.py"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "app:create_app()"]
