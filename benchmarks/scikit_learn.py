"""Seconds for estimators of scikit-learn, whose loops run on joblib."""

from joblib import parallel_config

from .common import need, sizes


class Forest:
    """A forest, fitted and asked."""

    params = (["threading", "loky"], sizes([20], [20, 200]))
    param_names = ["backend", "trees"]
    number = 1
    timeout = 120

    def setup(self, backend, trees):
        need("sklearn")
        from sklearn.datasets import load_digits
        from sklearn.ensemble import RandomForestClassifier

        self.data = load_digits(return_X_y=True)
        self.forest = RandomForestClassifier(trees, n_jobs=2, random_state=0)
        self.config = parallel_config(backend, n_jobs=2)
        self.forest.fit(*self.data)

    def teardown(self, backend, trees):
        if hasattr(self, "config"):
            self.config.unregister()

    def time_fit(self, backend, trees):
        self.forest.fit(*self.data)

    def time_predict(self, backend, trees):
        self.forest.predict(self.data[0])


class Search:
    """A search whose every candidate is a forest that is parallel itself."""

    params = ["threading", "loky"]
    param_names = ["backend"]
    number = 1
    timeout = 120

    def setup(self, backend):
        need("sklearn")
        from sklearn.datasets import load_iris
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import GridSearchCV

        self.data = load_iris(return_X_y=True)
        self.search = GridSearchCV(
            RandomForestClassifier(10, n_jobs=2, random_state=0),
            {"max_depth": [2, 4, None]},
            cv=3,
            n_jobs=2,
        )
        self.config = parallel_config(backend)
        self.search.fit(*self.data)

    def teardown(self, backend):
        if hasattr(self, "config"):
            self.config.unregister()

    def time_nested(self, backend):
        self.search.fit(*self.data)
