"""The Containerfile of the serving image."""

from matchlake.deploy.kubernetes import USER
from matchlake.deploy.params import DeployParams


def containerfile(params: DeployParams) -> str:
    """Returns the Containerfile: build files stay in the first stage, no root at run time."""
    requirements = "/dist/requirements-serve.txt"
    ask = f"urllib.request.urlopen('http://127.0.0.1:{params.port}/ping', timeout=2)"
    return f"""\
# docker build --file Containerfile --tag {params.image or params.name + ":VERSION"} .
# Needs dist/ with the wheel and requirements-serve.txt: one hash per package.
FROM {params.base_image} AS build
COPY dist/ /dist/
RUN python -m venv /app/venv \\
 && /app/venv/bin/pip install --no-cache-dir --require-hashes --requirement {requirements} \\
 && /app/venv/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM {params.base_image}
COPY --from=build /app/venv /app/venv
COPY conf/ /app/conf/
COPY models/ /app/models/
ENV PATH=/app/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TMPDIR=/tmp
WORKDIR /app
USER {USER}:{USER}
EXPOSE {params.port}
HEALTHCHECK --interval=10s --timeout=2s --start-period=30s \\
  CMD ["python", "-c", "import urllib.request; {ask}"]
ENTRYPOINT ["matchlake"]
"""
