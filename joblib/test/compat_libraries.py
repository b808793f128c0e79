"""Makers of frames, sparse matrices and fitted estimators, by name.

The libraries are imported by the makers, so that the names cost nothing.
"""

from __future__ import annotations

import importlib

import numpy as np


def _frame():
    import pandas as pd

    return pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [0.5, np.nan, 2],
            "s": ["a", None, "é"],
            "t": pd.to_datetime(["2020-01-01", None, "2021-05-06"]),
        },
        index=["x", "y", "z"],
    )


def _pandas(make):
    def made():
        import pandas as pd

        return make(pd)

    return made


PANDAS = {
    "frame": _frame,
    "frame part": lambda: _frame().iloc[1:, ::2],
    "frame empty": _pandas(lambda pd: pd.DataFrame()),
    "frame transposed": _pandas(
        lambda pd: pd.DataFrame(np.arange(6.0).reshape(2, 3)).T
    ),
    "frame of columns in levels": _pandas(
        lambda pd: pd.DataFrame(
            np.eye(4), columns=pd.MultiIndex.from_product([["a", "b"], [1, 2]])
        )
    ),
    "frame of extensions": _pandas(
        lambda pd: pd.DataFrame(
            {
                "i": pd.array([1, None], "Int64"),
                "b": pd.array([True, None], "boolean"),
                "f": pd.array([1.5, None], "Float32"),
            }
        )
    ),
    "frame sparse": _pandas(
        lambda pd: pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1, 2])})
    ),
    "series": _pandas(lambda pd: pd.Series([1.5, 2], name="n", index=[3, 1])),
    "series categorical": _pandas(
        lambda pd: pd.Series(pd.Categorical(["b", "a", None], ["b", "a"], ordered=True))
    ),
    "series of text": _pandas(lambda pd: pd.Series(["a", None, "é"], dtype="string")),
    "series of objects": _pandas(lambda pd: pd.Series([1, "a", [2]], dtype=object)),
    "series with zone": _pandas(
        lambda pd: pd.Series(pd.date_range("2020-01-01", periods=3, tz="Europe/Paris"))
    ),
    "index": _pandas(lambda pd: pd.Index([1, 2, 3], name="n")),
    "index of levels": _pandas(
        lambda pd: pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"])
    ),
    "index of ranges": _pandas(lambda pd: pd.RangeIndex(2, 9, 3)),
    "index of intervals": _pandas(lambda pd: pd.interval_range(0, 3)),
    "index of periods": _pandas(
        lambda pd: pd.period_range("2020-01", periods=3, freq="M")
    ),
    "times": _pandas(
        lambda pd: [
            pd.Timestamp("2020-01-01", tz="UTC"),
            pd.Timedelta("1h"),
            pd.NaT,
            pd.NA,
            pd.Period("2020-01"),
        ]
    ),
}


def _sparse(form, wrap):
    def made():
        import scipy.sparse

        dense = np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]])
        return getattr(scipy.sparse, f"{form}_{wrap}")(dense)

    return made


SPARSE = {
    f"{form} {wrap}": _sparse(form, wrap)
    for form in ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")
    for wrap in ("matrix", "array")
}


def _fitted(path, *args, **options):
    """A maker of a fitted estimator; `path` is module and class."""

    def made():
        module, _, name = path.rpartition(".")
        estimator = getattr(importlib.import_module(f"sklearn.{module}"), name)
        rng = np.random.RandomState(0)
        x = rng.normal(size=(40, 3))
        y = (x[:, 0] + x[:, 1] > 0).astype(int)
        given = [make() if callable(make) else make for make in args]
        return estimator(*given, **options).fit(x, y)

    return made


def _pipeline():
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.RandomState(0)
    x = rng.normal(size=(40, 3))
    return make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(
        x, x[:, 0] > 0
    )


def _search():
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV

    rng = np.random.RandomState(0)
    x = rng.normal(size=(30, 3))
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2).fit(x, x[:, 0])
    search.refit_time_ = 0.0
    search.cv_results_ = {
        k: v for k, v in search.cv_results_.items() if "time" not in k
    }
    return search


ESTIMATORS = {
    "logistic regression": _fitted("linear_model.LogisticRegression"),
    "ridge": _fitted("linear_model.Ridge"),
    "lasso": _fitted("linear_model.Lasso"),
    "linear model by steps": _fitted("linear_model.SGDClassifier", random_state=0),
    "support vectors": _fitted("svm.SVC"),
    "tree": _fitted("tree.DecisionTreeClassifier", random_state=0),
    "forest": _fitted(
        "ensemble.RandomForestClassifier", n_estimators=3, random_state=0
    ),
    "boosting": _fitted(
        "ensemble.GradientBoostingClassifier", n_estimators=3, random_state=0
    ),
    "histogram boosting": _fitted(
        "ensemble.HistGradientBoostingClassifier", max_iter=3, random_state=0
    ),
    "neighbours": _fitted("neighbors.KNeighborsClassifier"),
    "naive bayes": _fitted("naive_bayes.GaussianNB"),
    "gaussian process": _fitted(
        "gaussian_process.GaussianProcessRegressor", random_state=0
    ),
    "network": _fitted(
        "neural_network.MLPRegressor", max_iter=30, random_state=0, tol=1e9
    ),
    "clusters": _fitted("cluster.KMeans", n_clusters=2, n_init=1, random_state=0),
    "components": _fitted("decomposition.PCA", n_components=2),
    "scaler": _fitted("preprocessing.StandardScaler"),
    "pipeline": _pipeline,
    "search": _search,
}
