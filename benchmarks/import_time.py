"""What importing the package costs a fresh interpreter."""


class Import:
    """Seconds for the import statement alone."""

    def timeraw_package(self):
        return "import joblib"

    def timeraw_parallel(self):
        return "from joblib import Parallel, delayed"
