# Two stages: the first builds a virtual environment from the lock files, the second holds that and Python alone.
# The image needs no shell, no pip and no place to write.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/gha-step
RUN pip --python /opt/gha-step/bin/python install --require-hashes -r requirements.lock
RUN pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY gha_step gha_step
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist .
RUN pip --python /opt/gha-step/bin/python install --no-deps --no-index /dist/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="gha-step" \
      org.opencontainers.image.description="Kargo promotion steps for GitHub Actions: at most one dispatch per step, and never a wrong run ID." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# Python's image comes without the bytecode of the standard library: to compile it anew takes half of every start.
RUN ["python", "-c", "import compileall, re, sysconfig; compileall.compile_dir(sysconfig.get_path('stdlib'), quiet=1, rx=re.compile('site-packages|ensurepip|idlelib|pydoc_data|tkinter|turtledemo'))"]
COPY --from=build /opt/gha-step /opt/gha-step
# All bytecode is there: nothing is written at run time.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 9790
ENTRYPOINT ["/opt/gha-step/bin/gha-step"]
CMD ["serve"]
