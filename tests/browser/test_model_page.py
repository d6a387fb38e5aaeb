"""The page of a model in a real browser, opened from a file, the network off; without Chromium these tests skip."""

import re
import time
from contextlib import contextmanager

import pytest

from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.data.vocabulary.characters import Vocabulary
from charloom.inference.activations import top_predictions
from charloom.inference.model import Model
from charloom.model.file.model_file import load_model
from charloom.model.file.run_folder import find_model
from charloom.web.single_page import write_page
from support.browser import DESKTOP, HOSTILE, PHONE_OPTIONS, check_for_everybody
from support.browser import opened as open_page
from support.models import untrained

LETTERS = "\n abcdefghijklmnopqrstuvwxyz"
SHOWN = {"↵": "\n", "␣": " "}


@contextmanager
def opened(browser, path, **options):
    """Open a page without a network; see ``support.browser.opened``.

    What is shown is shown at once, not at a pace that can be read along, unless ``reduced_motion`` says otherwise.
    """
    with open_page(browser, path.as_uri(), offline=True, **{"reduced_motion": "reduce", **options}) as tab:
        yield tab


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def says(tab, identifier, pattern):
    """Wait until an element says something; the page's policy forbids Playwright to wait for anything else."""
    expect(tab.locator(f"#{identifier}")).to_have_text(re.compile(pattern), timeout=40_000)


def written(tab):
    """Wait until the page has written, and return the text."""
    says(tab, "status", "^(Wrote|Came)")
    return text_of(tab)


def text_of(tab):
    return tab.evaluate("document.getElementById('text').value")


def write(tab, prompt, **fields):
    """Let it write from a prompt; ``fields`` are settings by their names. Returns the text, the prompt before it."""
    for name, value in fields.items():
        if name in ("temperature", "top_p"):
            tab.locator(f"#{name}").evaluate(
                f"(slider) => {{ slider.value = {value}; slider.dispatchEvent(new Event('input')); }}"
            )
        else:
            tab.locator(f"#{name}").fill(str(value))
    tab.locator("#text").fill(prompt)
    tab.evaluate("document.getElementById('status').textContent = ''")
    tab.locator("#continue").click()
    return written(tab)


@pytest.fixture(scope="module")
def bundled():
    return Model(load_model(find_model("shakespeare")))


@pytest.fixture(scope="module")
def page(bundled, tmp_path_factory):
    path = tmp_path_factory.mktemp("html") / "page.html"
    write_page(path, [bundled.saved], title="A play", prompts=["ROMEO: ", "JULIET:\n"], samples=2)
    return path


@pytest.fixture
def page_of(tmp_path):
    def make(*saved_models, **options):
        write_page(tmp_path / "page.html", saved_models, **options)
        return tmp_path / "page.html"

    return make


def test_opened_from_a_file_without_a_network_it_writes(browser, page, bundled):
    with opened(browser, page) as tab:
        text = written(tab)
        seed = int(re.search(r"seed (\d+)", tab.locator("#status").inner_text())[1])
        assert text == bundled.generate("ROMEO: ", 200, seed=seed, precision="int8")
        assert tab.locator("h1").inner_text() == tab.title() == "A play"
        assert "trained on shakespeare" in tab.locator("#facts").inner_text()


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        ("", {"seed": 0, "length": 300}),
        ("ROMEO: ", {"seed": 2**53 - 5, "length": 1200}),
        ("The", {"seed": 5, "length": 200, "temperature": 0}),
        ("The", {"seed": 5, "length": 300, "temperature": 1.5, "top_p": 0.9}),
        ("ROMEO:\nO", {"seed": 7, "length": 2000, "stop": "\\n\\n"}),
    ],
)
def test_the_same_seed_gives_the_text_of_generate(browser, page, bundled, prompt, fields):
    options = {name: value for name, value in fields.items() if name in ("seed", "length", "temperature", "top_p")}
    if "stop" in fields:
        options["stop"] = fields["stop"].replace("\\n", "\n")
    with opened(browser, page) as tab:
        written(tab)  # what it writes of itself when it is opened
        assert write(tab, prompt, **fields) == bundled.generate(prompt, **options, precision="int8")


def test_versions_side_by_side_have_seeds_of_their_own(browser, page, bundled):
    with opened(browser, page) as tab:
        written(tab)
        tab.locator("#versions").select_option("3")
        tab.locator("#seed").fill("11")
        tab.locator("#text").fill("JULIET:\n")
        tab.locator("#continue").click()
        says(tab, "status", "^3 versions")
        texts = tab.locator(".choice .letters").evaluate_all("(all) => all.map((one) => one.textContent)")
        assert ["JULIET:\n" + text for text in texts] == [
            bundled.generate("JULIET:\n", 200, seed=seed, precision="int8") for seed in (11, 12, 13)
        ]
        tab.keyboard.press("2")
        assert text_of(tab) == "JULIET:\n" + texts[1]


def test_guesses_under_the_cursor_are_the_models(browser, page, bundled):
    text = "First Citizen:\nBefore we proceed any furthe"
    found = top_predictions(bundled.engine("int8"), bundled.vocabulary, text, 5)
    with opened(browser, page) as tab:
        written(tab)
        tab.locator("#text").fill(text)
        for place in (len(text), 15, 21):
            tab.locator("#text").evaluate(f"(area) => area.setSelectionRange({place}, {place})")
            likeliest = found.characters[place - 1][0]
            label = {"\n": "new line", " ": "space"}.get(likeliest, likeliest)
            expect(tab.locator("#guesses button").first).to_have_accessible_name(re.compile(f"^{re.escape(label)},"))
            rows = tab.locator("#guesses kbd").all_inner_texts()
            assert [SHOWN.get(row, row) for row in rows] == list(found.characters[place - 1])
            shares = tab.locator("#guesses button").evaluate_all(
                "(all) => all.map((one) => +one.style.getPropertyValue('--share'))"
            )
            assert shares == pytest.approx(found.probabilities[place - 1], rel=1e-4)


def test_a_guess_is_taken_by_a_click_and_by_a_key_and_the_text_goes_on(browser, page, bundled):
    with opened(browser, page) as tab:
        written(tab)
        tab.locator("#text").fill("ROME")
        tab.locator("#guesses button[aria-label^='O,']").click()
        assert text_of(tab) == "ROMEO"
        expect(tab.locator("#guesses button").first).to_have_accessible_name(re.compile("^:,"))
        tab.keyboard.press("Alt+1")
        assert text_of(tab) == "ROMEO:"
        tab.locator("#seed").fill("3")
        tab.evaluate("document.getElementById('status').textContent = ''")
        tab.locator("#text").press("Tab")
        assert written(tab) == bundled.generate("ROMEO:", 200, seed=3, precision="int8")


def test_colours_are_what_the_letters_cost(browser, page, bundled):
    text = "To be, or not to be: that is the question. Zyx"
    score = bundled.score(text, precision="int8")
    with opened(browser, page) as tab:
        written(tab)
        tab.locator("#surprise").press("Space")  # a tap would miss while the page still moves
        tab.locator("#text").fill(text)
        says(tab, "count", "bits per character")
        assert f"{score.bits_per_char:.2f} bits per character" in tab.locator("#count").inner_text()
        painted = tab.evaluate(
            """Array.from({length: 7}, (_, level) => [...CSS.highlights.get(`bits${level + 1}`)].reduce(
                (sum, range) => sum + range.endOffset - range.startOffset, 0))"""
        )
        levels = [min(7, int(bits)) for bits in score.surprisals]
        assert painted == [levels.count(level) for level in range(1, 8)]


def test_a_character_it_does_not_know_is_said_and_can_be_mended(browser, page):
    with opened(browser, page) as tab:
        written(tab)
        tab.locator("#text").fill("“Romeo”")
        tab.locator("#continue").click()
        assert "knows 65 characters" in tab.locator("#notice").inner_text()
        tab.locator("#notice button").first.click()
        assert text_of(tab).startswith("'Romeo'") or written(tab).startswith("'Romeo'")


def test_prompts_and_samples_are_taken_up(browser, page, bundled):
    with opened(browser, page) as tab:
        written(tab)
        tab.locator("#seed").fill("4")
        tab.evaluate("document.getElementById('status').textContent = ''")
        tab.locator("#prompts button").nth(1).click()
        assert written(tab) == bundled.generate("JULIET:\n", 200, seed=4, precision="int8")
        tab.locator(".sample button").nth(1).click()
        assert text_of(tab) == bundled.generate("JULIET:\n", 400, seed=2, precision="int8")
        tab.locator("#undo").click()
        assert text_of(tab) == bundled.generate("JULIET:\n", 200, seed=4, precision="int8")


def test_what_was_written_outlives_a_reload_but_is_no_other_pages(browser, page, tmp_path, bundled):
    other = tmp_path / "other.html"
    write_page(other, [bundled.saved], prompts=["KING "])
    with opened(browser, page) as tab:
        text = written(tab)
        tab.reload()
        assert text_of(tab) == text
    context = browser.new_context(reduced_motion="reduce")
    tab = context.new_page()
    for path, prompt in ((page, "ROMEO: "), (other, "KING ")):
        tab.goto(f"file://{path}")
        assert written(tab).startswith(prompt)
    context.close()


def test_a_gallery_has_a_menu_and_a_card_for_each(browser, page_of, bundled):
    loom = untrained(Vocabulary(LETTERS), corpus="loom")
    with opened(browser, page_of(bundled.saved, loom, samples=1)) as tab:
        written(tab)
        assert tab.locator("#model option").count() == tab.locator("#about article").count() == 2
        tab.locator("#about article").nth(1).get_by_text("Write with it").click()
        assert tab.locator("#model").input_value() == "loom"
        assert write(tab, "ab", seed=3, length=50) == Model(loom).generate("ab", 50, seed=3, precision="int8")
        tab.locator("#about article").nth(0).locator(".sample button").click()
        assert tab.locator("#model").input_value() == "shakespeare"
        expected = bundled.generate("", 400, seed=1, precision="int8")
        assert text_of(tab) == expected
        assert write(tab, "The", seed=3, length=50) == bundled.generate("The", 50, seed=3, precision="int8")


def test_a_model_of_lines_begins_anew_at_each(browser, page_of):
    lines = untrained(Vocabulary(LETTERS), lines=True)
    with opened(browser, page_of(lines)) as tab:
        for prompt in ("", "ab\ncd"):
            assert write(tab, prompt, seed=8, length=400) == Model(lines).generate(
                prompt, 400, seed=8, precision="int8"
            )


def test_a_model_of_bytes_writes_letters(browser, page_of):
    of_bytes = untrained(ByteVocabulary())
    with opened(browser, page_of(of_bytes)) as tab:
        text = write(tab, "né", seed=8, length=600)
        expected = Model(of_bytes).generate("né", 600, seed=8, precision="int8").encode("utf-8", "surrogateescape")
        assert text == re.sub("\r\n?", "\n", expected.decode("utf-8", "replace"))


def test_text_full_of_markup_is_text(browser, page_of):
    vocabulary = Vocabulary.from_text(HOSTILE + "b\n")
    path = page_of(untrained(vocabulary, corpus=HOSTILE), title=HOSTILE, prompts=[HOSTILE, "<b>"], samples=2)
    with opened(browser, path) as tab:
        assert written(tab).startswith(HOSTILE)
        tab.locator("#surprise").press("Space")
        says(tab, "count", "bits")
        assert tab.evaluate("window.hacked") is None
        assert tab.locator("img, b, body script:not([id])").count() == 1  # the page's own script
        assert tab.locator("h1").text_content() == tab.locator("#about h2").text_content() == HOSTILE


def test_a_model_that_cannot_be_started_is_said_to_be(browser, page, tmp_path):
    damaged = tmp_path / "damaged.html"
    damaged.write_text(re.sub('(id="model-0">)[^<]*', r"\1AAAA", page.read_text(encoding="utf-8")), encoding="utf-8")
    with opened(browser, damaged) as tab:
        expect(tab.locator("#notice p")).to_contain_text("The model cannot be started in this browser")
        assert text_of(tab) == "ROMEO: "


def test_without_simd_it_says_so_and_the_samples_can_be_read(browser, page, bundled):
    hidden = "WebAssembly.validate = () => false;"
    with opened(browser, page, first=hidden) as tab:
        assert "no WebAssembly with SIMD" in tab.locator("#unable").inner_text()
        assert not tab.locator("#room").is_visible()
        assert tab.locator(".sample pre").nth(0).inner_text() == bundled.generate(
            "ROMEO: ", 400, seed=1, precision="int8"
        )


def test_without_javascript_the_samples_can_be_read(browser, page):
    with opened(browser, page, java_script_enabled=False) as tab:
        assert tab.locator(".sample pre").count() == 2 and tab.locator(".sample pre").first.is_visible()
        assert not tab.locator("button:visible, textarea:visible").count()


def test_the_text_alone_is_printed(browser, page):
    with opened(browser, page, color_scheme="dark") as tab:
        text = written(tab)
        tab.emulate_media(media="print")
        seen = tab.evaluate("document.body.innerText")
        assert re.sub(r"\s+", " ", seen).strip() == re.sub(r"\s+", " ", text).strip()
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, page_of, bundled):
    path = page_of(bundled.saved, prompts=["ROMEO: ", "M" * 300], title="M" * 200, samples=1)
    with opened(browser, path, **PHONE_OPTIONS) as tab:
        written(tab)
        tab.locator("#surprise").press("Space")
        says(tab, "count", "bits")  # from here on nothing moves, so that the click meets the button
        assert tab.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
        tab.locator("#more").click()
        expect(tab.locator("#temperature")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [{"viewport": DESKTOP}, PHONE_OPTIONS], ids=["desktop", "phone"])
def test_it_meets_the_guidelines_for_accessibility(browser, page, scheme, options):
    for extra in ({}, {"first": "WebAssembly.validate = () => false;"}):
        with opened(browser, page, color_scheme=scheme, bypass_csp=True, **options, **extra) as tab:
            if not extra:
                written(tab)
                tab.locator("#surprise").press("Space")
                says(tab, "count", "bits")
            check_for_everybody(tab)


@pytest.mark.slow
def test_twenty_texts_of_two_thousand_characters_are_the_commands(browser, page, quick_cli):
    with opened(browser, page) as tab:
        written(tab)
        for seed in range(20):
            done = quick_cli("generate", "-p", "ROMEO:", "-n", 2000, "--seed", seed, "--precision", "int8")
            assert write(tab, "ROMEO:", seed=seed, length=2000) + "\n" == done.out


def seconds_to_write(browser, path, length, prompt):
    """Return the least time that a page took to write so much, of three."""
    with opened(browser, path) as tab:
        written(tab)
        for seed in range(3):
            write(tab, prompt, seed=seed, length=length)
        took = tab.evaluate("performance.getEntriesByName('write').map((one) => one.duration / 1000)")
        return min(took[-3:])


@pytest.mark.slow
def test_it_writes_fast(browser, page, page_of):
    tutorial = untrained(Vocabulary("".join(map(chr, range(60, 125)))), hidden_size=1024, embedding_size=256)
    for path, length, least in ((page, 20_000, 20_000), (page_of(tutorial), 5_000, 5_000)):
        speed = length / seconds_to_write(browser, path, length, "H" if least == 5_000 else "ROMEO: ")
        print(f"{speed:,.0f} characters a second")
        assert speed >= least


@pytest.mark.slow
def test_the_first_character_comes_within_a_second_of_opening(browser, page):
    look = """(() => {
        const look = (now) => {
            if (document.getElementById("mirror")?.textContent.length > "ROMEO: ".length) window.begun = now;
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    })();"""
    for _ in range(3):
        with opened(browser, page, first=look, reduced_motion="no-preference") as tab:
            assert written(tab).startswith("ROMEO: ")
            passed = tab.evaluate("window.begun")
            print(f"{passed:.0f} ms")
            assert passed < 1000


@pytest.mark.slow
def test_the_page_answers_while_it_writes(browser, page):
    """No slice of work is long: frames go on coming, however much is asked."""
    with opened(browser, page) as tab:
        written(tab)
        tab.evaluate(
            """() => { window.longest = 0; let before = performance.now();
            const next = (now) => {
                window.longest = Math.max(window.longest, now - before);
                before = now;
                requestAnimationFrame(next);
            };
            requestAnimationFrame(next); }"""
        )
        tab.locator("#length").fill("20000")
        tab.evaluate("document.getElementById('status').textContent = ''")
        tab.locator("#text").fill("The")
        tab.locator("#continue").click()
        time.sleep(0.3)
        assert tab.locator("#continue").inner_text().startswith("Stop")
        tab.keyboard.press("Escape")
        says(tab, "status", "^(Wrote|Stopped)")
        longest = tab.evaluate("window.longest")
        print(f"{longest:.0f} ms")
        assert longest < 250  # writing it in one piece takes a second
