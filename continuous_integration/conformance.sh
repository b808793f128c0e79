#!/usr/bin/env bash
# Upstream's test files against this package; see conformance.py for how.
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/run.py" conformance "$@"
