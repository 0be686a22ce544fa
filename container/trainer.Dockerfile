# The guarded trainer with CUDA: docker build -f container/trainer.Dockerfile -t trainmaster-trainer .
# PyTorch's image brings CUDA, cuDNN and a matching torch; any tag from 2.6 on does.
ARG BASE=pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime
FROM ${BASE}
# What OpenCV's desktop build loads.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY trainmaster trainmaster
COPY bot bot
COPY commands commands
COPY trainer trainer
# The torch of the image stays: pip is told its version.
RUN python -c 'from importlib.metadata import version as v; print(*(f"{n}=={v(n)}" for n in ("torch", "torchvision")), sep="\n")' \
        > /tmp/keep.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --constraint /tmp/keep.txt '.[trainer,gpu]' \
    && rm /tmp/keep.txt
# Whoever RUN_AS names writes Ultralytics' settings there.
RUN useradd --uid 1000 --create-home --non-unique trainer && chmod 1777 /home/trainer
USER 1000
WORKDIR /home/trainer
ENV PYTHONUNBUFFERED=1 YOLO_CONFIG_DIR=/home/trainer
# On a stop the batch is finished and a full state saved: give it more than Docker's 10 s (stop_grace_period).
STOPSIGNAL SIGTERM
ENTRYPOINT ["trainmaster"]
CMD ["selfcheck"]
