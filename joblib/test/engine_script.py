"""Calls on the engine of another project; run by `test_other_engines` there.

Prints one line of JSON: what came of each call. Not imported by the tests, since it
runs in an environment that has the engine and not what the tests need.
"""

import json
import os
import sys

import numpy as np

import joblib
from joblib import Parallel, delayed, parallel_config


def square(x):
    return x * x


def process_id(_):
    return os.getpid()


def fail(x):
    raise KeyError(f"no {x}")


def nested(n):
    return Parallel(n_jobs=2)(delayed(square)(i) for i in range(n))


def total(array, i):
    return float(array.sum()) + i


def start_ray():
    import ray
    from ray.util.joblib import register_ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=os.environ["ENGINE_FOLDER"],
    )
    register_ray()
    return ray.shutdown


def start_spark():
    from joblibspark import register_spark
    from pyspark.sql import SparkSession

    options = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": os.environ["ENGINE_FOLDER"],
        "spark.sql.warehouse.dir": os.environ["ENGINE_FOLDER"],
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    register_spark()
    return session.stop


def outcome(call):
    try:
        return call()
    except Exception as error:
        return {"raised": type(error).__name__, "names it": "no 3" in str(error)}


def calls():
    data = np.ones(300_000)
    with Parallel(n_jobs=2) as parallel:
        again = [parallel(delayed(square)(i) for i in range(n)) for n in (3, 5)]
    return {
        "version": joblib.__version__,
        "backend": type(Parallel(n_jobs=2)._backend).__module__.partition(".")[0],
        "squares": outcome(
            lambda: Parallel(n_jobs=2)(delayed(square)(i) for i in range(20))
        ),
        "all": outcome(
            lambda: Parallel(n_jobs=-1)(delayed(square)(i) for i in range(5))
        ),
        "elsewhere": os.getpid()
        not in Parallel(n_jobs=2)(delayed(process_id)(i) for i in range(4)),
        "error": outcome(
            lambda: Parallel(n_jobs=2)(
                delayed(fail if i == 3 else square)(i) for i in range(8)
            )
        ),
        "after": outcome(
            lambda: Parallel(n_jobs=2)(delayed(square)(i) for i in range(3))
        ),
        "nested": outcome(
            lambda: Parallel(n_jobs=2)(delayed(nested)(n) for n in range(4))
        ),
        "array": outcome(
            lambda: Parallel(n_jobs=2)(delayed(total)(data, i) for i in range(4))
        ),
        "again": again,
    }


if __name__ == "__main__":
    engine = sys.argv[1]
    stop = {"ray": start_ray, "spark": start_spark}[engine]()
    try:
        with parallel_config(engine):
            print("OUTCOMES " + json.dumps(calls()))
    finally:
        stop()
