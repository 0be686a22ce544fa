# The Slack bot: docker build -f container/bot.Dockerfile -t trainmaster-bot .
# Small, without torch, as a person without rights; what it may see comes from container/compose.yaml.
FROM python:3.11-slim AS build
WORKDIR /source
RUN python -m venv /opt/trainmaster
COPY container/bot.lock ./
RUN /opt/trainmaster/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r bot.lock
COPY pyproject.toml README.md LICENSE ./
COPY trainmaster trainmaster
COPY bot bot
COPY commands commands
COPY trainer trainer
RUN /opt/trainmaster/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.11-slim
COPY --from=build /opt/trainmaster /opt/trainmaster
# A new volume takes rights and all from this folder: whoever RUN_AS names makes a state of their own in it.
RUN useradd --uid 1000 --create-home trainmaster && install -d -m 1777 /var/lib/trainmaster
USER 1000
WORKDIR /home/trainmaster
ENV PATH=/opt/trainmaster/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STATE_DIR=/var/lib/trainmaster/state \
    METRICS_ADDRESS=127.0.0.1:9464
VOLUME /var/lib/trainmaster
# The numbers are served with 503 once nothing was collected for two minutes: then the bot hangs.
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/metrics', timeout=8)"]
# A stop sends what is waiting for Slack, for 5 s.
STOPSIGNAL SIGTERM
CMD ["trainmaster", "run"]
