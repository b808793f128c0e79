"""The page of a traced run in a browser: Chromium, driven by Selenium."""

from __future__ import annotations

import os
import shutil

import pytest

from joblib._tracing.page import page_of
from joblib._tracing.timeline import Timeline
from joblib.test.test_trace_pages import HOSTILE, large, nested, one_task

webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs Chromium and its chromedriver"
    ),
    pytest.mark.timeout(120),
    # Of Selenium's own connections.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.allow_leaks(reason="Chromium's processes and files, until it is shut"),
]

INNER, OUTER = "package.inner", "package.outer"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """One page that is open, and what a reader does with it."""

    def __init__(self, driver):
        self.driver = driver

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments, seconds=20):
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.driver, seconds, poll_frequency=0.02)
        return waiting.until(lambda _: self.run(f"return {script}", *arguments))

    @property
    def visible(self):
        return self.run("return timeline.visible()")

    @property
    def tip(self):
        return self.run(
            "const t = document.getElementById('tip');"
            "return t.hidden ? '' : t.innerText"
        )

    def centre(self, task):
        place = self.run("return timeline.center_of(arguments[0])", task)
        return round(place["x"]), round(place["y"])

    def pointer(self, x, y):
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        actions = ActionBuilder(self.driver, duration=0)
        actions.pointer_action.move_to_location(x, y)
        return actions

    def hover(self, task):
        self.pointer(*self.centre(task)).perform()
        self.wait("timeline.hovered() === arguments[0]", task)

    def click(self, task):
        actions = self.pointer(*self.centre(task))
        actions.pointer_action.click()
        actions.perform()

    def drag(self, task, dx):
        x, y = self.centre(task)
        actions = self.pointer(x, y)
        actions.pointer_action.pointer_down()
        actions.pointer_action.move_to_location(x + dx // 2, y)
        actions.pointer_action.move_to_location(x + dx, y)
        actions.pointer_action.pointer_up()
        actions.perform()

    def wheel(self, task, by):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

        origin = ScrollOrigin.from_viewport(*self.centre(task))
        ActionChains(self.driver).scroll_from_origin(origin, 0, by).perform()

    def press(self, *keys):
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.ID, "lanes").send_keys(*keys)

    def is_painted(self, element):
        """Tell whether a canvas shows more than one colour."""
        return self.run(
            "const c = document.getElementById(arguments[0]);"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return new Set(new Uint32Array(d.buffer)).size > 3",
            element,
        )

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def opened(browser, tmp_path):
    def open_page(timeline, summary="a summary", emulated=None, width=1200):
        path = tmp_path / "page.html"
        path.write_text(page_of(timeline, summary), encoding="utf-8")
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        features = [{"name": "prefers-color-scheme", "value": emulated or "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get_log("browser")  # what earlier pages said
        browser.get(path.as_uri())
        page = Page(browser)
        page.wait("window.timeline && timeline.ready")
        return page

    return open_page


def place(timeline, name, failed=False):
    return next(
        n
        for n, task in enumerate(timeline.tasks)
        if task.name == name and (task.error is not None) == failed
    )


def test_a_page_is_drawn_and_nothing_complains(opened):
    run = nested()
    page = opened(run)
    assert page.visible == [0, round(run.duration * 1e6)]
    assert page.is_painted("lanes")
    assert page.is_painted("overview")
    assert page.complaints() == []


def test_the_wheel_zooms_around_the_pointer(opened):
    run = nested()
    page = opened(run)
    task = place(run, INNER)
    before, x = page.visible, page.centre(task)[0]
    page.wheel(task, -600)
    page.wait(
        "timeline.visible()[1] - timeline.visible()[0] < arguments[0]",
        (before[1] - before[0]) * 0.7,
    )
    assert abs(page.centre(task)[0] - x) <= 2
    page.wheel(task, 4000)
    page.wheel(task, 4000)
    page.wait(
        "timeline.visible()[1] - timeline.visible()[0] >= arguments[0]",
        before[1] - before[0],
    )
    assert page.visible == before


def test_keys_zoom_and_move(opened):
    from selenium.webdriver.common.keys import Keys

    page = opened(nested())
    whole = page.visible
    page.press("+")
    near = page.visible
    assert near[1] - near[0] == pytest.approx((whole[1] - whole[0]) / 2)
    page.press(Keys.ARROW_RIGHT)
    right = page.visible
    assert right[0] > near[0]
    assert right[1] - right[0] == pytest.approx(near[1] - near[0])
    page.press(Keys.ARROW_LEFT)
    assert page.visible == pytest.approx(near)
    page.press("-")
    assert page.visible == pytest.approx(whole)
    page.press("+", "+", "0")
    assert page.visible == whole
    page.press("n")
    assert page.run("return timeline.pinned()") == 0
    page.press("n", "n", "p")
    assert page.run("return timeline.pinned()") == 1
    page.press(Keys.ESCAPE)
    assert page.run("return timeline.pinned()") == -1


def test_buttons_zoom(opened):
    from selenium.webdriver.common.by import By

    page = opened(nested())
    whole = page.visible
    page.driver.find_element(By.ID, "in").click()
    assert page.visible[1] - page.visible[0] == pytest.approx(whole[1] / 2)
    page.driver.find_element(By.ID, "out").click()
    page.driver.find_element(By.ID, "in").click()
    page.driver.find_element(By.ID, "all").click()
    assert page.visible == whole


def test_dragging_moves(opened):
    run = nested()
    page = opened(run)
    page.press("+", "+")
    before = page.visible
    inside = next(
        n
        for n, task in enumerate(run.tasks)
        if sum(before) / 2 < task.start * 1e6 and task.end * 1e6 < before[1]
    )
    x = page.centre(inside)[0]
    page.drag(inside, -80)
    after = page.visible
    assert after[0] > before[0]
    assert after[1] - after[0] == pytest.approx(before[1] - before[0])
    assert abs(page.centre(inside)[0] - (x - 80)) <= 2
    assert page.run("return timeline.pinned()") == -1


def test_hovering_tells_about_a_task(opened):
    run = nested()
    page = opened(run)
    task = place(run, INNER)
    page.hover(task)
    said = page.tip
    lane, call = run.lanes[run.tasks[task].lane], run.calls[run.tasks[task].call]
    for part in (
        INNER,
        OUTER,
        lane.label,
        f"process {lane.pid}",
        "level\n1",
        f"{call.backend}, n_jobs={call.n_jobs}",
        "2 kB, 16 B",
    ):
        assert part in said
    page.hover(place(run, OUTER))
    assert "8 tasks, waited" in page.tip
    failed = place(run, INNER, failed=True)
    page.hover(failed)
    assert run.tasks[failed].error in page.tip


def test_a_click_pins(opened):
    run = nested()
    page = opened(run)
    task, other = place(run, INNER), place(run, OUTER)
    page.click(task)
    assert page.run("return timeline.pinned()") == task
    page.hover(other)
    assert INNER in page.tip.splitlines()[0]
    page.click(task)
    assert page.run("return timeline.pinned()") == -1


def test_the_table_leads_to_the_longest_task(opened):
    from selenium.webdriver.common.by import By

    run = nested()
    page = opened(run)
    button = page.driver.find_elements(By.CSS_SELECTOR, "button[data-task]")[0]
    task = int(button.get_attribute("data-task"))
    length = [one.end - one.start for one in run.tasks]
    assert length[task] == max(length)
    button.click()
    assert page.run("return timeline.pinned()") == task
    start, end = page.visible
    assert start <= run.tasks[task].start * 1e6 < run.tasks[task].end * 1e6 <= end + 1
    assert page.complaints() == []


def test_the_legend_highlights(opened):
    from selenium.webdriver.common.by import By

    page = opened(nested())
    button = page.driver.find_elements(By.CSS_SELECTOR, "#legend button")[0]
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.complaints() == []


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(opened, name):
    page = opened(one_task(name), summary=name)
    assert page.run("return document.querySelectorAll('img, b b').length") == 0
    page.hover(0)
    shown = page.run("return document.querySelector('#tip strong').textContent")
    assert shown == name
    assert page.run("return window.harmed === undefined")
    assert page.complaints() == []


def test_an_empty_run(opened):
    page = opened(Timeline(1.7e9, 0.0), summary="")
    page.press("+", "n", "-", "0")
    assert page.run("return timeline.pinned()") == -1
    assert page.complaints() == []


@pytest.mark.parametrize("width", [380, 1600])
def test_it_fits_its_window(opened, width):
    page = opened(nested(), width=width)
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return document.getElementById('lanes').clientWidth") > width * 0.8
    task = place(nested(), OUTER)
    page.hover(task)
    box = page.run(
        "const b = document.getElementById('tip').getBoundingClientRect();"
        "return [b.left, b.right]"
    )
    assert 0 <= box[0] < box[1] <= width


def test_dark(opened):
    ground = "return getComputedStyle(document.body).backgroundColor"
    corner = (
        "return document.getElementById('lanes').getContext('2d')"
        ".getImageData(1, 1, 1, 1).data[0]"
    )
    page = opened(nested(), emulated="dark")
    assert page.run(ground) == "rgb(21, 24, 28)"
    assert page.run(corner) == 21
    features = [{"name": "prefers-color-scheme", "value": "light"}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.wait(corner.removeprefix("return ") + " === 255")  # it follows
    assert page.run(ground) == "rgb(255, 255, 255)"


def test_very_many_tasks(opened):
    run = large()
    page = opened(run)
    # One of a lane that is seen without scrolling.
    half = len(run.tasks) // 2
    task = next(n for n in range(half, 2 * half) if run.tasks[n].lane == 5)
    for _ in range(12):
        page.wheel(task, -1000)
    page.hover(task)
    assert run.tasks[task].name in page.tip
    assert page.complaints() == []


def test_a_search_recorded_on_a_cluster(opened):
    pytest.importorskip("distributed")
    pytest.importorskip("sklearn")
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    from joblib import parallel_config, trace

    from .dask_common import small_cluster

    X, y = make_classification(60, random_state=0)
    forest = RandomForestClassifier(4, n_jobs=-1, random_state=0)
    search = GridSearchCV(forest, {"max_depth": [1, 2]}, cv=2, n_jobs=-1, refit=False)
    with small_cluster(n_workers=2), parallel_config("dask"), trace() as t:
        search.fit(X, y)
    run = t.timeline
    tree = next(n for n, task in enumerate(run.tasks) if "tree" in task.name)
    fit = run.tasks[tree].parent
    assert run.tasks[fit].name == "_fit_and_score"

    page = opened(run)
    before, x = page.visible, page.centre(tree)[0]
    page.wheel(tree, -600)
    page.wait(
        "timeline.visible()[1] - timeline.visible()[0] < arguments[0]",
        (before[1] - before[0]) * 0.7,
    )
    assert abs(page.centre(tree)[0] - x) <= 2
    page.hover(tree)
    assert run.tasks[tree].name in page.tip
    assert "DaskDistributedBackend" in page.tip
    page.press("0")
    page.hover(fit)
    assert "_fit_and_score" in page.tip
    assert page.complaints() == []
