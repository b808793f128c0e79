"""The dask backend keeps the contract of all backends, on a real cluster."""

from __future__ import annotations

import pytest

from joblib.testing import backend_checks

pytest.importorskip("distributed")

from joblib._dask import DaskDistributedBackend  # noqa: E402
from joblib.test.dask_common import small_cluster  # noqa: E402

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(scope="module", params=[True, False], ids=["processes", "threads"])
def client(request):
    with small_cluster(n_workers=2, processes=request.param) as client:
        yield client


@pytest.mark.allow_leaks("threads of the workers, which serve the whole file")
@pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
def test_contract(client, check):
    check(lambda: DaskDistributedBackend(client=client), 2)
