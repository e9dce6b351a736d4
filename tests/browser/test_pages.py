"""The pages in a real browser: what an operator sees and does."""

import pytest
from playwright.sync_api import expect

from conftest import PAGES
from tidemill import eventually


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_every_page_reads(open_page, path, scripts):
    page = open_page(scripts=scripts).go(path)
    expect(page.locator("main")).to_be_visible()
    expect(page.locator("h1").first).to_be_visible()
    assert "Tidemill" in page.title()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_fits_a_phone(open_page, path, dark):
    page = open_page(width=375, height=700, dark=dark).go(path)
    wide, has = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= has, f"{wide} pixels on a screen of {has}"


@pytest.mark.parametrize("path", PAGES)
def test_every_control_has_a_name(open_page, path):
    page = open_page().go(path)
    nameless = page.evaluate("""() => [...document.querySelectorAll('a, button, input, select')]
        .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.title ||
                       e.labels?.length || e.placeholder || e.hidden))
        .map(e => e.outerHTML.slice(0, 200))""")
    assert nameless == []


def test_the_failing_log_is_one_click_away(open_page):
    page = open_page().go("/")
    attention = page.locator("#attention")
    expect(attention).to_contain_text("failing")
    expect(attention).to_contain_text("ZeroDivisionError")
    attention.get_by_role("link", name="Open the log").first.click()
    page.wait_for_url("**/runs/failing.1/tasks/transform**")
    expect(page.locator("ol.log")).to_contain_text("ZeroDivisionError: division by zero")


def test_a_bad_file_shows_its_error(open_page):
    page = open_page().go("/")
    expect(page.locator("#attention")).to_contain_text("has no action")
    expect(page.locator("#attention")).to_contain_text("broken.yaml")


def test_a_run_shows_graph_states_counts(open_page):
    page = open_page().go("/runs/personalize.1")
    expect(page.locator("h1")).to_contain_text("personalize")
    expect(page.locator("svg").first).to_be_attached()
    row = page.locator("#tasks tr", has_text="purchases").filter(has_text="122,841").last
    expect(row).to_contain_text("106,973")
    page.locator("#tasks").get_by_role("link", name="audience").first.click()
    page.wait_for_url("**/tasks/audience**")
    expect(page.locator("main")).to_contain_text("no_record")


def test_a_profile_explains_its_score(open_page):
    page = open_page().go("/profiles")
    expect(page.locator("main")).to_contain_text("1,014")
    page.goto(page.url.replace("/profiles", "/profiles/1"))
    main = page.locator("main")
    for text in ("loyalty", "interest", "recs", "household-1@example.test"):
        expect(main).to_contain_text(text)


def test_start_a_run_and_cancel_it(open_page, site):
    page = open_page().go("/dags/slow")
    page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Trigger")).or_(
        page.get_by_role("button", name="Start")).first.click()
    page.wait_for_url("**/runs/slow.*")
    run = page.url.rsplit("/", 1)[1].partition("?")[0].partition("#")[0]
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel run").click()
    # The page follows the run by itself.
    expect(page.locator("h1")).to_contain_text("cancelled", ignore_case=True, timeout=30_000)
    assert site.run(run)["state"] == "cancelled"


def test_the_keyboard_is_enough(open_page):
    page = open_page().go("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/dags")


def test_what_failed_goes_again_from_the_page(open_page, site):
    """The button says first what goes again, and the page follows the run."""
    (site.home.dags / "mends.yaml").write_text(
        "tasks:\n  fine: {run: [echo, fine]}\n  breaks: {run: '[ -e mended ]'}\n"
        "  then: {run: [echo, then], depends_on: [breaks]}\n")
    eventually("the DAG", lambda: site.ask("POST", "/api/v1/dags/mends/runs", {})[0] == 201)
    eventually("its end", lambda: site.run("mends.1")["state"] == "failed")
    (site.home.dags / "mended").touch()
    page = open_page().go("/runs/mends.1")
    said = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
    page.get_by_role("button", name="Run failed tasks again").click()
    expect(page.locator("h1")).to_contain_text("succeeded", ignore_case=True, timeout=30_000)
    assert said == ["Run again: breaks, then.\n\nResults stay of: fine."]
    assert site.run("mends.1")["generation"] == 2
    page.goto(page.url + "/tasks/then")
    page.get_by_role("button", name="Run again from here").click()
    # The browser's question is answered while we wait inside of it.
    eventually("it went again", lambda: page.wait_for_timeout(100) or site.run("mends.1")["generation"] == 3)
    expect(page.get_by_role("button", name="Run again from here")).to_be_visible(timeout=30_000)


def test_an_operator_pauses_marks_and_leaves_a_note(open_page, site):
    """A task that failed counts as skipped, a run stands still and goes on, a note is there for others."""
    (site.home.dags / "operated.yaml").write_text(
        "tasks:\n  breaks: {run: [sh, -c, 'exit 3']}\n"
        "  then: {run: [sh, -c, 'sleep 600'], depends_on: [breaks]}\n")
    eventually("the DAG", lambda: site.ask("POST", "/api/v1/dags/operated/runs", {})[0] == 201)
    eventually("its end", lambda: site.run("operated.1")["state"] == "failed")
    page = open_page().go("/runs/operated.1/tasks/breaks")
    said = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
    page.get_by_text("Mark as").click()
    page.get_by_role("button", name="succeeded").click()
    expect(page.locator("h1")).to_contain_text("succeeded", timeout=30_000)
    assert said == ["Mark breaks as succeeded?\n\nThese could not run because of it, and run then: then."]
    page.goto(page.url.replace("/tasks/breaks", ""))
    page.get_by_role("button", name="Pause run").click()
    expect(page.locator("main")).to_contain_text("This run was paused by browser")
    page.get_by_role("button", name="Resume run").click()
    expect(page.get_by_role("button", name="Pause run")).to_be_visible()
    page.get_by_text("Leave a note").click()
    page.get_by_label("What should others know?").fill("the shop is down")
    page.get_by_role("button", name="Save note").click()
    expect(page.locator(".said")).to_contain_text("the shop is down")
    page.get_by_role("button", name="Cancel run").click()
    eventually("its end", lambda: page.wait_for_timeout(100) or site.run("operated.1")["state"] == "failed"
               or site.run("operated.1")["state"] == "cancelled")
