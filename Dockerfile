# Earmark as one image: the service, its default model pack, nothing else. Data lives in the volume /data.
#   docker build -t earmark . && docker run -p 127.0.0.1:8420:8420 -v earmark:/data earmark

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/earmark
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY core ./core
COPY firehose ./firehose
COPY labeler ./labeler
COPY feedgen ./feedgen
COPY models ./models
COPY store ./store
COPY earmark ./earmark
RUN /opt/earmark/bin/pip install --no-cache-dir --constraint constraints.txt .
RUN EARMARK_HOME=/opt/earmark-packs /opt/earmark/bin/earmark models pull musicnn

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /data earmark
COPY --from=build /opt/earmark /opt/earmark
COPY --from=build /opt/earmark-packs /opt/earmark-packs
ENV PATH=/opt/earmark/bin:$PATH EARMARK_HOME=/opt/earmark-packs EARMARK_STORAGE__FOLDER=/data EARMARK_SERVICE__HOST=0.0.0.0
USER earmark
VOLUME /data
EXPOSE 8420
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8420/xrpc/_health', timeout=4)"]
ENTRYPOINT ["earmark"]
CMD ["serve"]
