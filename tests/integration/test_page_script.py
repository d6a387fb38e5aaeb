"""The exported page's script, in Node: bundling of modules, the prefix cache and sessions."""

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
    result = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@needs_node
def test_bundled_modules_import_each_other():
    modules = {
        "a.js": 'import { b, B } from "./b.js";\nimport { $c } from "./c.js";\nconst own = 1;\n'
        "log.push(b(), new B().is, $c, own);\n",
        "b.js": "const own = 2;\nexport function b() { return own; }\nexport class B { is = 3; }\n",
        "c.js": "log.push('once');\nexport const $c = 4, other = 5;\n",
    }
    script = bundle_scripts(
        "const log = [];\n", modules, 'use("a.js");\nuse("c.js");\nconsole.log(JSON.stringify(log));\n'
    )
    assert run_node(script) == ["once", 2, 3, 4, 1]


@pytest.mark.parametrize(
    "line",
    [
        'import x from "./b.js";', 'import * as x from "./b.js";', 'import { b as x } from "./b.js";',
        'import "./b.js";', "export default 1;", "export { b };", "export let b = 1;",
    ],
)  # fmt: skip
def test_unsupported_syntax_is_an_error(line):
    with pytest.raises(ValueError, match=r"a\.js"):
        bundle_scripts("", {"a.js": line + "\n", "b.js": ""}, "")


def test_a_missing_module_is_an_error():
    with pytest.raises(ValueError, match=r"z\.js"):
        bundle_scripts("", {"a.js": 'import { z } from "./z.js";\n'}, "")


@needs_node
def test_a_module_can_be_replaced():
    modules = {
        "a.js": 'import { b } from "./b.js";\nlog.push(b);\n',
        "b.js": "throw new Error();\nexport const b = 1;\n",
        "c.js": "export const b = 2;\n",
    }
    start = 'use("a.js");\nconsole.log(JSON.stringify(log));\n'
    assert run_node(bundle_scripts("const log = [];\n", modules, start, {"b.js": "c.js"})) == [2]


# --- sessions, with a stub of the engine whose predictions depend on everything that it has read

MODULES = ("vocabulary.js", "prefix_cache.js", "records.js", "session.js")
CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz"


def run_sessions(body, unit="char", vocabulary=CHARACTERS, lines=False):
    """Run the body of an asynchronous function that can call ``make()``, which returns a session, and ``collect``."""
    modules = read_modules("offline")
    modules = {name: modules[name] for name in (*MODULES, "text.js")}
    modules["test.js"] = 'import { Session } from "./session.js";\n' + (
        f"const model = {json.dumps({'lines': lines, 'charloom': {'unit': unit, 'vocabulary': vocabulary}})};\n"
        f"const make = async () => new Session(await Engine.create(null, [{len(vocabulary)}]), model);\n"
        "const collect = async (session, prompt, options, signal) => {\n"
        "  let all = ''; const reasons = [];\n"
        "  const request = { temperature: 1, top_p: 1, ...options };\n"
        "  for await (const { text, finish_reason } of session.generate(prompt, request, signal)) {\n"
        "    all += text; reasons.push(finish_reason);\n  }\n  return { all, reasons };\n};\n"
        f"(async () => {{\n{body}\n}})()\n"
        "  .then((result) => { console.log(JSON.stringify(result)); process.exit(0); });\n"
    )
    engine = (SUPPORT / "engine_stub.js").read_text(encoding="utf-8")
    return run_node(bundle_scripts(engine, modules, 'use("test.js");\n'))


@needs_node
@pytest.mark.parametrize("lines", [False, True], ids=["text", "lines"])
def test_cached_results_equal_those_of_a_new_session(lines):
    result = run_sessions(
        """
    const session = await make(), differences = [];
    let text = "", state = 1;
    const random = (n) => (state = (state * 48271) % 2147483647) % n;
    for (let i = 0; i < 120; i++) {
      const from = random(text.length + 1), to = from + random(text.length - from + 1);
      if (i % 4 === 3) {
        text = text.slice(0, i % 8 === 3 ? text.length : from) || "a";
        text += (await collect(session, text, { max_tokens: 1 + random(700), seed: i })).all;
      }
      else if (i % 4 < 2) text = text.slice(0, from) + "the loom".slice(0, random(8)) + text.slice(i % 3 ? from : to);
      const prefix = text.slice(0, random(text.length) + 1) || "a", fresh = await make();
      const [cached, expected] = [await session.topPredictions(prefix, 5), await fresh.topPredictions(prefix, 5)];
      if (JSON.stringify(cached) !== JSON.stringify(expected)) differences.push(["predictions", i]);
      const surprisals = [await session.surprisals(text || "a"), await fresh.surprisals(text || "a")];
      const differs = (bits, k) => Math.abs((bits ?? -1) - (surprisals[1][k] ?? -1)) > 1e-5;
      const equal = surprisals[0].length === surprisals[1].length && !surprisals[0].some(differs);
      if (!equal) differences.push(["surprisals", i]);
      if (text.length > 4000) text = text.slice(0, 3000);
    }
    return { differences, length: text.length };
    """,
        lines=lines,
    )
    assert result["differences"] == [] and result["length"] > 500


@needs_node
def test_after_a_change_only_the_following_text_is_read():
    steps = run_sessions(
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
    assert steps[0] == steps[-1] == 0 and max(steps) <= 256


@needs_node
def test_the_first_character_has_a_surprisal_only_in_line_models():
    body = "return (await (await make()).surprisals('ab')).map((bits) => bits === null);"
    assert run_sessions(body) == [True, False]
    assert run_sessions(body, lines=True) == [False, False]
    surprisals, expected = run_sessions(
        """
    const session = await make(), { engine } = await make(), ids = session.vocabulary.encode("ab"), expected = [];
    engine.begin([]); // the state after a line feed
    for (const id of ids) {
      expected.push(-Math.log2(engine.probabilities()[id]));
      engine.read(id);
    }
    return [await session.surprisals("ab"), expected];
    """,
        lines=True,
    )
    assert surprisals == expected


@needs_node
@pytest.mark.parametrize("prompt", ["", "the "])
def test_a_stop_sequence_across_pieces_ends_the_text_before_it(prompt):
    """The stop sequence is characters 16 to 18, and the first piece has 16 characters."""
    plain, stopped, absent = run_sessions(
        f"""
    const options = {{ max_tokens: 900, seed: 5 }};
    const generate = async (...stop) => collect(await make(), {json.dumps(prompt)}, {{ ...options, stop }});
    const whole = await generate(""), stop = whole.all.slice(15, 18), {{ engine, vocabulary }} = await make();
    engine.begin(vocabulary.encode({json.dumps(prompt)}));
    const sampled = vocabulary.decoder()(engine.sample(900, {{ seed: 5n }}).ids);
    return [{{ ...whole, stop, sampled }}, await generate(stop), await generate(`${{whole.all.slice(-2)}}~`)];
    """
    )
    assert plain["all"] == plain["sampled"]  # sampled in one call
    assert plain["all"].index(plain["stop"]) == 15
    assert plain["reasons"][-1] == "length" and len(plain["all"]) == 900 and len(plain["reasons"]) > 2
    assert stopped["all"] == plain["all"][: plain["all"].index(plain["stop"])] and stopped["reasons"][-1] == "stop"
    assert absent["all"] == plain["all"]  # the text that was held back is sent at the end
    assert set(plain["reasons"][:-1]) == {None}


@needs_node
def test_an_aborted_request_leaves_the_session_usable():
    result = run_sessions(
        """
    const session = await make(), abort = new AbortController();
    setTimeout(() => abort.abort(), 5);
    let errorName = null;
    const text = "the loom ".repeat(20000);
    try { await session.topPredictions(text, 5, null, abort.signal); } catch (error) { errorName = error.name; }
    const [after, expected] = [await session.topPredictions("the", 5), await (await make()).topPredictions("the", 5)];
    return [errorName, JSON.stringify(after) === JSON.stringify(expected)];
    """
    )
    assert result == ["AbortError", True]


@needs_node
def test_bytes_are_decoded_when_a_character_is_complete():
    all_bytes = "".join(map(chr, range(256)))
    result = run_sessions(
        """
    const session = await make(), { vocabulary } = session, decode = vocabulary.decoder(), text = "né\\ufeff😀";
    const ids = vocabulary.encode(text), pieces = ids.map((id) => decode([id]));
    const names = [65, 10, 200].map((id) => vocabulary.name(id)), count = (await session.surprisals(text)).length;
    return { ids, text: pieces.join(""), pieces, sizes: vocabulary.sizes(text), names, count };
    """,
        unit="byte",
        vocabulary=all_bytes,
    )
    text = "né\ufeff😀"
    assert result["ids"] == list(text.encode()) and result["text"] == text
    assert result["pieces"][:3] == ["n", "", "é"] and result["sizes"] == [1, 2, 3, 4] and result["count"] == 4
    names = ByteVocabulary().names()
    assert result["names"] == [names[65], names[10], names[200]]
