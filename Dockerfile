# The gateway in a container: how to build and run it, and what of that was tried, is in docs/deploy.md.
#
# The agents are not in the image: `clawdforge agents install NAME` puts them into the volume, as on any machine, where
# they stay when the image is built anew. So it needs Node with npm at run time, and no other way to install.

ARG PYTHON=python:3.11-slim-bookworm
ARG NODE=node:22-bookworm-slim

FROM ${NODE} AS node

FROM ${PYTHON} AS build
# Not empty: the library of the embedded model too, 100 MB.
ARG LOCAL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/clawdforge
COPY requirements/server.txt requirements/local.txt requirements/
RUN /opt/clawdforge/bin/pip install --require-hashes -r requirements/server.txt
RUN test -z "$LOCAL" || /opt/clawdforge/bin/pip install --require-hashes -r requirements/local.txt
COPY LICENSE README.md pyproject.toml ./
COPY src src
RUN /opt/clawdforge/bin/pip install --no-build-isolation --no-deps .

FROM ${PYTHON}
# tini is process 1: it reaps what `docker exec` leaves, which is no business of the gateway's, and when the gateway is
# gone, so is the container with every process in it. git is what coding agents look for first, libgomp1 what the
# embedded model's library needs.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgomp1 tini \
    && rm -rf /var/lib/apt/lists/*
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && groupadd --gid 10001 clawdforge \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/clawdforge --shell /usr/sbin/nologin clawdforge \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/clawdforge
COPY --from=build /opt/clawdforge /opt/clawdforge

# 0.0.0.0 is the container's own: who may call is said by CLAWDFORGE_ALLOW_CIDRS (without it, nobody outside), and what
# of the host leads here by the ports that are published.
ENV PATH=/opt/clawdforge/bin:$PATH \
    HOME=/var/lib/clawdforge \
    CLAWDFORGE_HOST=0.0.0.0 \
    CLAWDFORGE_DATA_DIR=/var/lib/clawdforge/data
USER 10001:10001
WORKDIR /var/lib/clawdforge
VOLUME /var/lib/clawdforge
EXPOSE 8800
STOPSIGNAL SIGTERM
# By http.client, which heeds no proxy that is set for the agents.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8800, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--", "clawdforge"]
CMD ["serve"]
