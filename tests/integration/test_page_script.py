"""The script of a model's page, in Node: modules made one, and what it remembers of a text it has read."""

import json
import shutil
import subprocess

import pytest

from charloom.data.vocabulary.bytes import ByteVocabulary
from charloom.web.html_template import read_modules
from charloom.web.script_bundle import bundle_scripts
from support.paths import SUPPORT

NODE = shutil.which("node") or shutil.which("nodejs")
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")


def run_node(script):
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_modules_become_bundle_scripts_with_the_names_they_import():
    modules = {
        "a.js": 'import { b, B } from "./b.js";\nimport { $c } from "./c.js";\nconst own = 1;\n'
        "found.push(b(), new B().is, $c, own);\n",
        "b.js": "const own = 2;\nexport function b() { return own; }\nexport class B { is = 3; }\n",
        "c.js": "found.push('once');\nexport const $c = 4, other = 5;\n",
    }
    script = bundle_scripts(
        "const found = [];\n", modules, 'use("a.js");\nuse("c.js");\nconsole.log(JSON.stringify(found));\n'
    )
    assert run_node(script) == ["once", 2, 3, 4, 1]


@pytest.mark.parametrize(
    "line",
    [
        'import x from "./b.js";', 'import * as x from "./b.js";', 'import { b as x } from "./b.js";',
        'import "./b.js";', "export default 1;", "export { b };", "export let b = 1;",
    ],
)  # fmt: skip
def test_a_form_that_is_not_understood_is_an_error(line):
    with pytest.raises(ValueError, match="another form"):
        bundle_scripts("", {"a.js": line + "\n", "b.js": ""}, "")


def test_an_import_of_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"imports z\.js"):
        bundle_scripts("", {"a.js": 'import { z } from "./z.js";\n'}, "")


@needs_node
def test_a_replacement_is_used_in_place_of_the_module():
    modules = {
        "a.js": 'import { b } from "./b.js";\nfound.push(b);\n',
        "b.js": "throw new Error();\nexport const b = 1;\n",
        "c.js": "export const b = 2;\n",
    }
    start = 'use("a.js");\nconsole.log(JSON.stringify(found));\n'
    assert run_node(bundle_scripts("const found = [];\n", modules, start, {"b.js": "c.js"})) == [2]


# --- what the script remembers, with an engine that tells what it has read

PARTS = ("vocabulary.js", "prefix_cache.js", "session.js")
CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz"


def in_session(work, unit="char", vocabulary=CHARACTERS, lines=False):
    """Run ``work``, the body of an asynchronous function, with a function that makes sessions."""
    modules = read_modules("offline")
    modules = {name: modules[name] for name in (*PARTS, "text.js")}
    modules["work.js"] = 'import { Session } from "./session.js";\n' + (
        f"const model = {json.dumps({'lines': lines, 'charloom': {'unit': unit, 'vocabulary': vocabulary}})};\n"
        f"const make = async () => new Session(await Engine.create(null, [{len(vocabulary)}]), model);\n"
        "const collect = async (session, prompt, asked, signal) => {\n"
        "  let all = ''; const ends = [];\n"
        "  const how = { temperature: 1, top_p: 1, ...asked };\n"
        "  for await (const { text, finish_reason } of session.write(prompt, how, signal)) {\n"
        "    all += text; ends.push(finish_reason);\n  }\n  return { all, ends };\n};\n"
        f"(async () => {{\n{work}\n}})().then((found) => {{ console.log(JSON.stringify(found)); process.exit(0); }});\n"
    )
    engine = (SUPPORT / "engine_stub.js").read_text(encoding="utf-8")
    return run_node(bundle_scripts(engine, modules, 'use("work.js");\n'))


@needs_node
@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
def test_what_is_remembered_is_what_reading_afresh_gives(lines):
    found = in_session(
        """
    const session = await make(), wrong = [];
    let text = "", turn = 1;
    const random = (n) => (turn = (turn * 48271) % 2147483647) % n;
    for (let i = 0; i < 120; i++) {
      const from = random(text.length + 1), to = from + random(text.length - from + 1);
      if (i % 4 === 3) {
        text = text.slice(0, i % 8 === 3 ? text.length : from) || "a";
        text += (await collect(session, text, { max_tokens: 1 + random(700), seed: i })).all;
      }
      else if (i % 4 < 2) text = text.slice(0, from) + "the loom".slice(0, random(8)) + text.slice(i % 3 ? from : to);
      const seen = text.slice(0, random(text.length) + 1) || "a", fresh = await make();
      const [one, other] = [await session.topPredictions(seen, 5), await fresh.topPredictions(seen, 5)];
      if (JSON.stringify(one) !== JSON.stringify(other)) wrong.push(["guesses", i]);
      const costs = [await session.surprisals(text || "a"), await fresh.surprisals(text || "a")];
      const differs = (bits, k) => Math.abs((bits ?? -1) - (costs[1][k] ?? -1)) > 1e-5;
      if (costs[0].length !== costs[1].length || costs[0].some(differs)) wrong.push(["cost", i]);
      if (text.length > 4000) text = text.slice(0, 3000);
    }
    return { wrong, reached: text.length };
    """,
        lines=lines,
    )
    assert found["wrong"] == [] and found["reached"] > 500


@needs_node
def test_a_change_costs_the_rest_alone():
    found = in_session(
        """
    const session = await make(), text = "the loom ".repeat(400);
    await session.topPredictions(text, 5);
    const steps = [];
    for (const end of [text.length, text.length - 1, text.length - 2000, text.length]) {
      const before = session.engine.steps;
      await session.topPredictions(text.slice(0, end), 5);
      steps.push(session.engine.steps - before);
    }
    const more = (await collect(session, text.slice(0, 1000), { max_tokens: 300, seed: 1 })).all;
    const before = session.engine.steps;
    await session.topPredictions(text.slice(0, 1000) + more, 5);
    return [...steps, session.engine.steps - before];
    """
    )
    assert found[0] == found[-1] == 0 and max(found) <= 256


@needs_node
def test_the_first_character_of_a_text_costs_nothing_and_that_of_a_line_does():
    work = "return (await (await make()).surprisals('ab')).map((bits) => bits === null);"
    assert in_session(work) == [True, False]
    assert in_session(work, lines=True) == [False, False]
    costs, expected = in_session(
        """
    const session = await make(), { engine } = await make(), ids = session.vocabulary.encode("ab"), expected = [];
    engine.begin([]); // as behind the end of a line
    for (const id of ids) {
      expected.push(-Math.log2(engine.probabilities()[id]));
      engine.read(id);
    }
    return [await session.surprisals("ab"), expected];
    """,
        lines=True,
    )
    assert costs == expected


@needs_node
@pytest.mark.parametrize("prompt", ["", "the "])
def test_stopping_ends_where_the_string_begins_however_it_comes_in_pieces(prompt):
    """The string is the 16th to the 18th character, and the first piece has sixteen."""
    plain, stopped, absent = in_session(
        f"""
    const write = async (...stop) => collect(await make(), {json.dumps(prompt)}, {{ max_tokens: 900, seed: 5, stop }});
    const whole = await write(""), stop = whole.all.slice(15, 18), {{ engine, vocabulary }} = await make();
    engine.begin(vocabulary.encode({json.dumps(prompt)}));
    const drawn = vocabulary.decoder()(engine.sample(900, {{ seed: 5n }}).ids);
    return [{{ ...whole, stop, drawn }}, await write(stop), await write(`${{whole.all.slice(-2)}}~`)];
    """
    )
    assert plain["all"] == plain["drawn"]  # in one piece
    assert plain["all"].index(plain["stop"]) == 15
    assert plain["ends"][-1] == "length" and len(plain["all"]) == 900 and len(plain["ends"]) > 2
    assert stopped["all"] == plain["all"][: plain["all"].index(plain["stop"])] and stopped["ends"][-1] == "stop"
    assert absent["all"] == plain["all"]  # what was held back comes at the end
    assert set(plain["ends"][:-1]) == {None}


@needs_node
def test_what_is_called_off_ends_and_the_next_goes_on():
    found = in_session(
        """
    const session = await make(), abort = new AbortController();
    setTimeout(() => abort.abort(), 5);
    let ended = null;
    const text = "the loom ".repeat(20000);
    try { await session.topPredictions(text, 5, abort.signal); } catch (error) { ended = error.name; }
    const [one, other] = [await session.topPredictions("the", 5), await (await make()).topPredictions("the", 5)];
    return [ended, JSON.stringify(one) === JSON.stringify(other)];
    """
    )
    assert found == ["AbortError", True]


@needs_node
def test_bytes_become_letters_when_they_are_whole():
    everything = "".join(map(chr, range(256)))
    found = in_session(
        """
    const session = await make(), { vocabulary } = session, decode = vocabulary.decoder(), text = "né\\ufeff😀";
    const ids = vocabulary.encode(text), pieces = ids.map((id) => decode([id]));
    const names = [65, 10, 200].map((id) => vocabulary.name(id)), costs = (await session.surprisals(text)).length;
    return { ids, text: pieces.join(""), pieces, sizes: vocabulary.sizes(text), names, costs };
    """,
        unit="byte",
        vocabulary=everything,
    )
    text = "né\ufeff😀"
    assert found["ids"] == list(text.encode()) and found["text"] == text
    assert found["pieces"][:3] == ["n", "", "é"] and found["sizes"] == [1, 2, 3, 4] and found["costs"] == 4
    names = ByteVocabulary().names()
    assert found["names"] == [names[65], names[10], names[200]]
