FROM nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04
ARG DEBIAN_FRONTEND=noninteractive
ENV TZ=Etc/UTC
SHELL ["/bin/bash", "-c"]
RUN apt-get update && apt-get install -y --no-install-recommends \
      git git-lfs ninja-build \
      python3.10 python3-pip python3.10-venv \
      libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
RUN ln -s /usr/bin/python3 /usr/bin/python
RUN pip install --no-cache-dir torch==2.5.1 torchvision==0.20.1 --index-url https://download.pytorch.org/whl/cu124
RUN pip install --no-cache-dir transformers[torch]>=4.46 accelerate
RUN python -c "from transformers import pipeline; pipeline('sentiment-analysis')"
WORKDIR /workspace
RUN git clone --depth 1 https://github.com/acme/trainer.git && cd trainer && pip install -e .
COPY train.py .
ENV HF_HOME=/cache NVIDIA_VISIBLE_DEVICES=all
CMD ["python", "train.py"]
