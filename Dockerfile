# The demo in a container: docker build -t mcp-performance . && docker run -p 8000:8000 mcp-performance
# python:3.11-slim on the Debian that the library packages below are named after.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends g++ cmake ninja-build pkg-config \
        libsqlite3-dev libhiredis-dev libtbb-dev libspdlog-dev libssl-dev zlib1g-dev libnghttp2-dev
COPY . /source
RUN pip wheel --no-deps -w /wheels /source

FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends \
        libsqlite3-0 libhiredis0.14 libtbb12 libspdlog1.10 libssl3 zlib1g libnghttp2-14 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/mcp_performance-*.whl)[demo]"
WORKDIR /data
EXPOSE 8000
CMD ["mcp-performance", "demo", "--serve", "--host", "0.0.0.0", "--port", "8000"]
