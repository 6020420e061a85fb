# The gateway in a container: nothing but Python, what requirements/image.txt names, and Freeway. compose.yaml says how it
# is run; docs/releasing.md how it is built where packages or base images come from elsewhere.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# Of files and of what is recorded about them: one input, one image.
ARG SOURCE_DATE_EPOCH=1767225600
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1
WORKDIR /build
# The environments are made without pip: it installs from outside, and stays outside.
RUN python -m venv --without-pip /opt/tools && python -m venv --without-pip /opt/freeway
COPY requirements/image-build.txt requirements/image.txt requirements/
COPY tools/slim.py ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    python -m pip --python /opt/tools install --quiet --no-deps --require-hashes -r requirements/image-build.txt && \
    python -m pip --python /opt/freeway install --quiet --no-deps --require-hashes -r requirements/image.txt && \
    python slim.py /opt/freeway/lib && \
    python -m compileall -q --invalidation-mode unchecked-hash /opt/freeway/lib
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY providers providers
COPY config config
RUN /opt/tools/bin/hatchling build -t wheel -d /build/dist && \
    python -m pip --python /opt/freeway install --quiet --no-deps --no-index /build/dist/*.whl && \
    /opt/tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --of JSON \
        -o /opt/freeway/sbom.cdx.json /opt/freeway/bin/python && \
    python -m compileall -q --invalidation-mode unchecked-hash /opt/freeway/lib/python*/site-packages/gateway \
        /opt/freeway/lib/python*/site-packages/providers && \
    find /opt/freeway -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${PYTHON_IMAGE}
ARG VERSION=0
ARG REVISION=
LABEL org.opencontainers.image.title="Freeway" \
      org.opencontainers.image.description="One OpenAI-compatible API in front of every free source of language models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# What can install programs has no business here. The state is a volume; all else can be read-only.
RUN python -c "import pip; print(pip.__path__[0])" | { read -r pip && rm -rf "$pip" "$pip"-*; } && \
    rm -rf "$(dirname "$(python -c 'import os; print(os.__file__)')")/ensurepip" && \
    find /usr/bin /usr/local/bin -name 'pip*' -delete && \
    install -d -o 65532 -g 65532 -m 700 /data
COPY --from=build /opt/freeway /opt/freeway
ENV PATH=/opt/freeway/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 PORT=8000 FREEWAY_STATE_DIR=/data HOME=/data \
    FREEWAY_HINT="set a free key: docker run -e GROQ_API_KEY=…"
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Well is a gateway with a source to ask. One that has none yet is up, and says in its log and at /health what is missing.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["freeway", "health", "--ready"]
CMD ["freeway", "serve"]
