"""The pages in a real Chromium, over a real node with real series."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from crafted import Crafted
from playwright.sync_api import Browser, Page, Route, expect
from running import RunningNode

from node.journey import State
from node.rules.load import parse_rule, save
from node.store.tables import Series
from node.web import tokens
from node.web.roles import Role

pytestmark = pytest.mark.slow

SIDE, SLICES = 64, 12
PATIENCE_MS = 150_000  # on a busy machine
PAGES = ("/", "/series", "/series/1", "/series/1/viewer", "/rules", "/rules/test", "/destinations", "/disk", "/audit")

PLUGIN = '''
import time
from pydantic import BaseModel
from node.plugin import Curve, Measurement, Method, Quantity, Report, Verdict

class Plus:
    """Adds 100 HU to the lower half of each slice, takes its time, and reports as a harmonizer does."""
    name, version = "plus", "1"
    class Parameters(BaseModel):
        seconds_a_slice: float = 0.0
    def measure(self, volume, parameters):
        return Measurement(quantities={"f50": Quantity(0.4, "/mm", 0.39, 0.41)})
    def method(self, measurement, parameters):
        return Method("plus", "1", "100 HU more below", "00")
    def harmonize(self, volume, measurement, parameters):
        for hu in volume.hu:
            time.sleep(parameters.seconds_a_slice)
            more = hu.copy()
            more[len(hu) // 2:] += 100
            yield more
    def check(self, volume, harmonized, measurement, parameters):
        return Verdict(True, (), {"lung shift": Quantity(0.1, "[hnsf'U]")})
    def report(self, volume, harmonized, measurement, parameters, verdict):
        x = tuple(i / 20 for i in range(32))
        y = tuple(max(0.0, 1 - i / 25) for i in range(32))
        axes = ("frequency in cycles/mm", "MTF")
        band = tuple(max(0.0, v - 0.1) for v in y), tuple(v + 0.1 for v in y)
        curves = {"source": Curve(x, y, *axes, *band), "target": Curve(x, tuple(v * v for v in y), *axes)}
        laa = Quantity(11.3, "%"), Quantity(6.1, "%")
        return Report({"LAA-950": laa[0]}, {"LAA-950": laa[1]}, curves, {}, ("a note",))
'''


@dataclass
class Site:
    """A node whose pages are looked at."""

    node: RunningNode
    url: str
    folder: Path
    token: str

    def store(self, name: str, number: int) -> str:
        """Store a series of that description; returns its UID."""
        uid = f"1.2.3.4.{number}"

        def change(made: Any, index: int) -> None:
            made.SeriesDescription, made.SeriesInstanceUID = name, uid
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{index}"
            ramp = np.linspace(24, 1400, SIDE * SIDE).reshape(SIDE, SIDE) + 20 * index
            made.PixelData = ramp.astype(np.uint16).tobytes()

        crafted = Crafted(self.folder / name)
        self.node.store(crafted.series(SLICES, change, side=SIDE))
        return uid

    @property
    def obstacle(self) -> Path:
        """A file where the destination `blocked` would have its folder."""
        return self.folder / "blocked"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Site]:
    """One series is done, one waits for a person since its destination cannot be written."""
    del chromium  # where there is none, no node is needed
    folder = tmp_path_factory.mktemp("site")
    plugins = folder / "plugins"
    (plugins / "plus-1.dist-info").mkdir(parents=True)
    (plugins / "plus_plugin.py").write_text(PLUGIN)
    (plugins / "plus-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plus\nVersion: 1\n")
    (plugins / "plus-1.dist-info" / "entry_points.txt").write_text("[harmonode.plugins]\nplus = plus_plugin:Plus\n")
    ports = free_port(), free_port()
    settings = {
        "web": {"port": ports[1], "echo_every_s": 0},
        "destinations": [
            {"kind": "folder", "name": "archive", "path": str(folder / "archive")},
            {"kind": "folder", "name": "blocked", "path": str(folder / "blocked")},
        ],
    }
    environment = {**os.environ, "PYTHONPATH": str(plugins)}
    running = RunningNode(folder / "node", ports[0], environment, settings)
    with ExitStack() as stack:
        running.start()
        stack.callback(running.stop)
        assert running.database
        stack.callback(running.database.close)
        found = Site(running, f"http://127.0.0.1:{ports[1]}", folder, "")
        found.obstacle.write_text("in the way")
        running.only_rule(plugin="plus", destinations=["archive"])
        chosen = [("blocked", {"destinations": ["blocked"]}), ("slow", {"parameters": {"seconds_a_slice": 0.4}})]
        with running.database.write() as session:
            for name, what in chosen:
                rule = {"name": name, "priority": 10, "plugin": "plus", "destinations": ["archive"], **what}
                rule["match"] = {"tag": "SeriesDescription", "equals": name.upper()}
                save(session, parse_rule(rule), author="test", why="the browser's own")
            found.token = tokens.add(session, "eli", Role.ADMIN, actor="test")
        found.store("CHEST", 1)
        found.store("BLOCKED", 2)
        running.wait_for_rest(2)
        yield found


@pytest.fixture
def open_page(site: Site, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page, logged in; what its console complains of fails the test, unless it is `forgiven`."""
    complaints: list[str] = []
    forgiven = ["status of 409"]  # a form that was refused, rightly
    with ExitStack() as stack:

        def opened(
            path: str = "/",
            width: int = 1280,
            scheme: Any = "light",
            prepare: Callable[[Page], object] = lambda _: None,
            forgive: str | None = None,
        ) -> Page:
            forgiven.extend([forgive] if forgive else [])
            context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
            stack.callback(context.close)
            page = context.new_page()
            prepare(page)
            page.on("console", lambda said: said.type in {"error", "warning"} and complaints.append(said.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(f"{site.url}/login?next={path}")
            expect(page.get_by_label("Your token")).to_be_focused()
            page.keyboard.type(site.token)
            page.keyboard.press("Enter")
            page.wait_for_url(site.url + path)
            return page

        yield opened
    assert [said for said in complaints if not any(text in said for text in forgiven)] == []


def test_the_first_page_says_what_needs_somebody_and_what_to_do(site: Site, open_page):
    page = open_page()
    needs = page.locator(".needs")
    expect(needs).to_contain_text("1 thing needs you")
    expect(needs).to_contain_text("BLOCKED")
    expect(needs).to_contain_text("What to do")
    expect(needs.get_by_role("button", name="Retry")).to_be_visible()
    box = needs.bounding_box()
    assert box
    assert box["y"] < 200, "it is what is seen first"


def test_it_is_used_by_keyboard_alone(site: Site, open_page):
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Series", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/series")
    page.get_by_role("link", name="CHEST").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/series/1")
    expect(page.locator("h1")).to_have_text("CHEST")


def test_a_series_is_seen_to_arrive_to_run_and_to_be_done_without_reloading(site: Site, open_page):
    page = open_page()
    page.evaluate("window.same = true")
    page.get_by_role("link", name="all series").focus()
    site.store("SLOW", 3)
    running = page.locator("section", has=page.get_by_role("heading", name="Running"))
    expect(running).to_contain_text("SLOW", timeout=PATIENCE_MS)
    expect(running.get_by_role("progressbar")).to_be_visible(timeout=PATIENCE_MS)
    lately = page.locator("section", has=page.get_by_role("heading", name="Lately"))
    expect(lately).to_contain_text("SLOW", timeout=PATIENCE_MS)
    assert page.evaluate("window.same"), "the page was loaded anew"
    expect(page.get_by_role("link", name="all series")).to_be_focused()


@pytest.mark.parametrize("script", ["htmx-", "hx-sse-", "harmonode"])
def test_a_page_whose_scripts_come_slowly_listens_all_the_same(site: Site, open_page, script: str):
    def slow(route: Route) -> None:
        time.sleep(1.0)
        route.continue_()

    page = open_page(prepare=lambda page: page.route(f"**/{script}*.js", slow))
    with page.expect_request("**/events"):
        page.reload()


def test_a_page_that_is_refused_its_first_connection_says_so_and_tries_again(site: Site, open_page):
    def refuse(page: Page) -> None:  # for six seconds: the page may take some to be there
        page.route("**/events", lambda route: route.fulfill(status=503), times=3)

    page = open_page(prepare=refuse, forgive="503")
    lost = page.get_by_text("The node does not answer")
    expect(lost).to_be_visible()
    expect(lost).to_be_hidden(timeout=PATIENCE_MS)


def test_a_page_whose_session_ended_elsewhere_asks_for_the_token(site: Site, open_page):
    page = open_page("/series", forgive="401")
    open_page().get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile(r"/login\?next="), timeout=PATIENCE_MS)


def test_the_series_page_tells_the_whole_story(site: Site, open_page):
    page = open_page("/series/1")
    assert page.locator(".line .past b").all_inner_texts() == [
        "received", "complete", "selected", "measured", "harmonized", "checked", "derived", "sent", "confirmed",
    ]  # fmt: skip
    expect(page.locator("svg.chart polygon.band")).to_have_count(1)
    expect(page.locator("svg.chart polyline.curve")).to_have_count(2)
    for said in ("11.3 %", "6.1 %", "0.4 /mm (0.39 to 0.41)", "Passed", "a note", "selects it", "12 instances arrived"):
        expect(page.locator("main")).to_contain_text(said)


def grey_at(page: Page, which: str) -> list[int]:
    """Red, green and blue in the middle of a picture, a little below its half."""
    return page.evaluate(
        """async (id) => {
            const image = document.getElementById(id);
            await image.decode();
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const at = context.getImageData(image.naturalWidth / 2, image.naturalHeight * 0.6, 1, 1).data;
            return [at[0], at[1], at[2]];
        }""",
        which,
    )


def drawn(page: Page, number: int, mode: str = "swipe", window: str = "lung") -> None:
    expect(page.locator("#viewer")).to_have_attribute("data-drawn", f"{number} {mode} {window}")


def test_the_viewer_goes_through_slices_by_wheel_keys_and_slider(site: Site, open_page):
    page = open_page("/series/1/viewer")
    drawn(page, 6)
    before, after = grey_at(page, "before"), grey_at(page, "after")
    assert after[0] - before[0] == pytest.approx(100 * 255 / 1500, abs=1.5), "100 HU in a window of 1500"
    stage = page.locator("#stage")
    stage.hover()
    page.mouse.wheel(0, 40)
    drawn(page, 7)
    for key, number in (("ArrowDown", 8), ("ArrowUp", 7), ("End", 12), ("Home", 1), ("PageDown", 11), ("PageUp", 1)):
        page.keyboard.press(key)
        drawn(page, number)
    slider = page.get_by_role("slider", name="Slice")
    slider.focus()
    page.keyboard.press("ArrowRight")
    drawn(page, 2)
    expect(page.locator("#where")).to_contain_text("slice 2 of 12")


def test_the_viewer_changes_windows_and_shows_the_difference(site: Site, open_page):
    page = open_page("/series/1/viewer")
    drawn(page, 6)
    lung = grey_at(page, "before")
    page.keyboard.press("m")
    drawn(page, 6, window="mediastinum")
    assert grey_at(page, "before") != lung
    page.keyboard.press("3")
    drawn(page, 6, "difference", "mediastinum")
    red, green, blue = grey_at(page, "difference")
    assert red > green > blue, "where it rose it is orange"
    page.keyboard.press("1")
    page.keyboard.press("l")
    drawn(page, 6)
    box = page.locator("#stage").bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 50)
    share = page.locator("#viewer").evaluate("(viewer) => Number(viewer.style.getPropertyValue('--share'))")
    assert share == pytest.approx(0.5, abs=0.02)
    page.keyboard.press("ArrowRight")
    moved = page.locator("#viewer").evaluate("(viewer) => Number(viewer.style.getPropertyValue('--share'))")
    assert moved == pytest.approx(share + 0.02)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_no_page_is_wider_than_its_window_and_axe_finds_nothing(site: Site, open_page, width: int, scheme: str):
    page = open_page("/", width, scheme)
    for path in PAGES:
        page.goto(site.url + path)
        if path.endswith("viewer"):
            drawn(page, 6)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        if (width, scheme) in {(390, "light"), (1280, "dark")}:
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
            wrong = [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found.response["violations"]]
            assert wrong == [], path


def test_a_rule_is_tried_on_past_series_before_it_is_put_in_force(site: Site, open_page):
    page = open_page("/rules/test")
    text = page.get_by_role("textbox", name="The rule as YAML")
    text.fill(text.input_value().replace("Modality, equals: CT", "Modality, equals: MR"))
    page.get_by_role("button", name="Try").click()
    expect(page.locator("#replay")).to_contain_text("lost: 1")
    page.get_by_placeholder("why it is changed").fill("a try")
    text.fill("name: test\nmatch: {tag: Modalty, equals: CT}\nplugin: plus\n")
    page.get_by_role("button", name="Put in force").click()
    expect(page.get_by_role("alert")).to_contain_text("Modalty")
    expect(page.locator("main")).to_contain_text("version 1")


def test_the_audit_trail_is_searched_and_verified(site: Site, open_page):
    page = open_page("/audit")
    page.get_by_role("button", name="Verify the chain").click()
    expect(page.get_by_role("status").filter(has_text="records, each follows")).to_be_visible()
    page.get_by_label("Event").select_option("decision")
    page.get_by_role("button", name="Search").click()
    events = set(page.locator("tbody tr td:nth-child(3)").all_inner_texts())
    assert events == {"decision"}


def test_a_retry_finishes_what_waited_once_its_cause_is_gone(site: Site, open_page):
    page = open_page()
    site.obstacle.unlink()
    page.locator(".needs li", has_text="BLOCKED").get_by_role("button", name="Retry").click()
    page.wait_for_url(re.compile(r"/series/\d+$"))
    blocked = sa.select(Series).where(Series.series_instance_uid == "1.2.3.4.2")
    site.node.wait(lambda: site.node.one(blocked).state == State.DONE, "the series is done", PATIENCE_MS / 1000)
    expect(page.locator(".line .past b").last).to_have_text("confirmed", timeout=PATIENCE_MS)
    assert any("token:eli asked for another try" in record.message for record in site.node.events("retry"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
