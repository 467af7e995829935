"use strict";
// The state is the queue, what has been said of each event, and the event that is shown; all else follows.

const $ = (id) => document.getElementById(id);
const LOOK = 3000, STEP = 0.5, BEFORE = 1, EDGE = 10; // milliseconds; seconds
const UNPLAYABLE = "The video cannot be played: its file is gone, or it is none that this browser knows (H.264 in MP4 is)";
const player = $("player");
let items = [], version = null, verdicts = {}, shown = null, detail = null, skipped = new Set(), given = [];
let playhead = 0, playable = true, running = false, busy = false, passing = false;

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children); // strings become text, never markup
  return made;
}

function clock(seconds) {
  const tenths = Math.round(seconds * 10), hours = Math.floor(tenths / 36000);
  const minutes = Math.floor(tenths / 600) % 60, rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

const when = (item) => (item.when ? new Date(item.when).toLocaleString() : `${clock(item.begin)} \u2013 ${clock(item.end)}`);

// ---- asking

async function ask(path, said) {
  const how = said && { method: "POST", body: JSON.stringify(said), headers: { "Content-Type": "application/json" } };
  let answer;
  try {
    answer = await fetch(path, how);
  } catch {
    trouble("The review command does not answer; it may have ended. All verdicts given so far are kept.", true);
    return null;
  }
  if (!answer.ok) {
    trouble((await answer.text()).trim() || `Failed (${answer.status}).`, !said);
    return null;
  }
  if (passing || said) trouble("");
  return answer.json();
}

// What passes is over with the next answer; what came of something done stays until something else is done.
function trouble(text, passes = false) {
  passing = passes;
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function load() {
  const state = await ask("/state");
  if (!state) return;
  const there = new Set(state.items.map((item) => item.id)), known = new Set(items.map((item) => item.id));
  const added = state.items.filter((item) => !known.has(item.id)); // they come behind what was seen
  const next = items.slice(items.indexOf(shown)).find((item) => there.has(item.id)); // the one shown, if it is there
  for (const item of items) if (!there.has(item.id)) $(`go-${item.id}`).parentElement.remove();
  $("queue").append(...added.map(entry));
  items = [...items.filter((item) => there.has(item.id)), ...added];
  given = given.filter((item) => there.has(item.id));
  version = state.version;
  $("feedback").textContent = state.feedback;
  $("report").hidden = !state.report;
  const words = (line) => line.split(" ").flatMap((word) => [element("span", {}, word), " "]).slice(0, -1);
  $("advice").replaceChildren(...state.advice.flatMap((line) => [...words(line), "\n"]).slice(0, -1));
  $("empty").hidden = items.length > 0;
  for (const id of ["normal", "abnormal", "skip"]) $(id).disabled = !items.length;
  take(state);
  if (shown && shown === next) return;
  const gone = shown, start = next ? items.indexOf(next) : items.length;
  if (items.length) show(upcoming(start - 1) ?? next ?? items[0]);
  else clear();
  if (gone) trouble(`${gone.title}, ${when(gone)}: this event is no longer kept, so another is shown.`);
}

async function look() {
  const news = await ask("/verdicts");
  if (news && news.version !== version) await load();
  else if (news) take(news);
}

function take(news) {
  verdicts = news.verdicts;
  $("problems").replaceChildren(...news.problems.map((line) => element("li", {}, line)));
  const words = Object.values(verdicts).map((one) => one.word), normal = words.filter((word) => word === "normal").length;
  const said = items.filter((item) => verdicts[item.id]).length;
  $("progress").textContent = items.length
    ? `${said} of ${items.length}: ${normal} normal, ${said - normal} abnormal`
    : "No events";
  $("bar").max = items.length || 1;
  $("bar").value = said;
  $("done").hidden = !items.length || said < items.length;
  items.forEach((item) => {
    const [label, verdict] = [$(`said-${item.id}`), verdicts[item.id]];
    label.textContent = verdict ? verdict.word + (verdict.who ? ` (${verdict.who})` : "") : skipped.has(item.id) ? "skipped" : "";
    label.className = verdict ? `said ${verdict.word}` : "said";
  });
  stamp();
}

// ---- the queue

function entry(item) {
  const words = element("span", {},
    element("b", {}, item.title),
    element("span", {}, `${when(item)}, score\u00a0${item.score.toFixed(2)}${item.alarm ? "" : ", no alarm"}`),
    element("span", { id: `said-${item.id}`, className: "said" }),
  );
  const parts = [words];
  if (item.alarm) {
    const picture = element("img", { src: `/still/${item.id}`, alt: "", loading: "lazy" });
    picture.addEventListener("error", () => picture.remove());
    parts.unshift(picture);
  }
  return element("li", {}, element("button", { type: "button", id: `go-${item.id}`, onclick: () => choose(item) }, ...parts));
}

function choose(item) {
  show(item);
  if ($("stage").getBoundingClientRect().top < 0) $("stage").scrollIntoView(); // on a phone the list is below it
}

function upcoming(place) {
  // The next without a verdict, from the top again at the end; what was skipped comes last.
  const order = [...items.slice(place + 1), ...items.slice(0, place + 1)].filter((item) => !verdicts[item.id]);
  return order.find((item) => !skipped.has(item.id)) ?? order[0];
}

function mark() {
  for (const button of $("queue").querySelectorAll("[aria-current]")) button.removeAttribute("aria-current");
  const button = $(`go-${shown.id}`), list = $("queue");
  button.setAttribute("aria-current", "true");
  const own = button.getBoundingClientRect(), box = list.getBoundingClientRect();
  list.scrollTop += Math.max(0, own.bottom - box.bottom + 8) + Math.min(0, own.top - box.top - 8);
}

function stamp() {
  const verdict = shown && verdicts[shown.id];
  $("stamp").hidden = !verdict;
  $("stamp").textContent = verdict ? verdict.word : "";
  $("stamp").className = verdict ? verdict.word : "";
  $("undo").disabled = !given.length && !verdict;
}

// ---- the event that is shown

function clear() {
  shown = detail = null;
  for (const id of ["title", "about", "readout"]) $(id).textContent = "";
  for (const id of ["unplayable", "still", "heat"]) $(id).hidden = true;
  for (const id of ["player", "still"]) $(id).removeAttribute("src");
  $("line").setAttribute("d", "");
  player.load();
  stamp();
}

async function show(item) {
  if (!passing) trouble("");
  shown = item;
  detail = null;
  running = false;
  playable = true;
  $("play").disabled = false;
  $("title").textContent = item.title;
  const looks = item.words.length ? `; looks like ${item.words.join(", ")}${item.patch ? ` (${item.patch})` : ""}` : "";
  $("about").textContent = `${when(item)}, highest score ${item.score.toFixed(2)}${item.alarm ? "" : ", below the threshold: no alarm"}${looks}`;
  $("false").hidden = !item.alarm;
  $("unplayable").hidden = true;
  $("still").hidden = true;
  $("still").removeAttribute("src"); // it may still be looked for
  player.hidden = false;
  mark();
  stamp();
  place(item.peak);
  player.src = `/clip/${item.id}`;
  const found = await ask(`/item/${item.id}`);
  if (shown !== item) return;
  detail = found && withLevels(found);
  draw();
  place(playhead);
}

function withLevels(found) {
  if (found.heat) found.heat.levels = Uint8Array.from(atob(found.heat.levels), (c) => c.charCodeAt(0));
  $("heat-choice").hidden = !found.heat && !found.box;
  return found;
}

// While it runs up to the event, "here" is the peak: nobody means the second before.
const here = () => (running && (playhead < shown.begin || playhead > shown.end) ? shown.peak : playhead);
const from = () => Math.max(0, shown.begin - EDGE);
const until = () => Math.min(Number.isFinite(player.duration) ? player.duration : Infinity, shown.end + EDGE);

function draw() {
  const x = (second) => (1000 * (second - from())) / (until() - from());
  const y = (score) => 96 - 92 * Math.min(1, score);
  const points = (detail?.curve ?? []).flatMap(([second, score], i, all) => {
    const next = all[i + 1]?.[0] ?? until();
    return [`${x(second).toFixed(1)} ${y(score).toFixed(1)}`, `${x(next).toFixed(1)} ${y(score).toFixed(1)}`];
  });
  $("line").setAttribute("d", points.length ? `M${points.join("L")}` : "");
  $("span").setAttribute("x", x(shown.begin));
  $("span").setAttribute("width", x(shown.end) - x(shown.begin));
  const level = detail?.threshold;
  $("threshold").toggleAttribute("hidden", level == null);
  if (level != null) for (const side of ["y1", "y2"]) $("threshold").setAttribute(side, y(level));
}

function place(second) {
  playhead = second;
  const share = (second - from()) / (until() - from());
  $("head").style.left = `${100 * Math.max(0, Math.min(1, share))}%`;
  const score = detail?.curve.filter(([start]) => start <= second + 1e-3).pop()?.[1];
  const level = detail?.threshold == null ? "" : `; the dashed line is the threshold, ${detail.threshold.toFixed(2)}`;
  $("readout").textContent = clock(second) + (score === undefined ? "" : `, score ${score.toFixed(2)}${level}`);
  $("here").textContent = clock(here());
  $("timeline").setAttribute("aria-valuenow", second.toFixed(1));
  $("timeline").setAttribute("aria-valuetext", $("readout").textContent);
  drawHeat();
}

function drawHeat() {
  const canvas = $("heat"), heat = detail?.heat, box = detail?.box;
  canvas.hidden = !$("heat-on").checked || !(heat || box);
  if (canvas.hidden) return;
  const pen = canvas.getContext("2d");
  if (box) {
    const [left, top, right, bottom] = box;
    [canvas.width, canvas.height] = [600, 400];
    pen.strokeStyle = "#ff5a1f";
    pen.lineWidth = 6;
    if (playhead >= shown.begin && playhead <= shown.end) {
      pen.strokeRect(600 * left + 3, 400 * top + 3, 600 * (right - left) - 6, 400 * (bottom - top) - 6);
    }
    return;
  }
  [canvas.width, canvas.height] = [heat.columns, heat.rows];
  const at = detail.curve.findLastIndex(([start]) => start <= playhead + 1e-3);
  const first = Math.floor(at / heat.snippets) * heat.rows * heat.columns;
  const picture = pen.createImageData(heat.columns, heat.rows);
  for (let i = 0; at >= 0 && i < heat.rows * heat.columns; i += 1) {
    picture.data.set([255, 60, 0, 0.6 * heat.levels[first + i]], 4 * i);
  }
  pen.putImageData(picture, 0, 0);
}

function seek(second) {
  running = false;
  player.pause();
  const target = Math.max(0, Math.min(second, until() - 0.02));
  if (playable) player.currentTime = target;
  place(target);
}

function run(start) {
  player.currentTime = start;
  running = true;
  player.play().catch(() => (running = false));
}

function follow() {
  if (!player.paused) {
    place(player.currentTime);
    if (running && playhead >= Math.min(shown.end, until() - 0.05)) return seek(shown.peak); // "here" is the peak then
    requestAnimationFrame(follow);
  }
}

function toggle() {
  if (!playable) return;
  if (!player.paused) return seek(player.currentTime);
  if (playhead < shown.end && playhead !== shown.peak) run(playhead);
  else run(Math.max(0, shown.begin - BEFORE));
}

player.addEventListener("loadedmetadata", () => {
  if (!player.videoWidth) return refuse();
  $("screen").style.setProperty("--shape", player.videoWidth / player.videoHeight);
  draw();
  place(shown.peak);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) seek(shown.peak);
  else run(Math.max(0, shown.begin - BEFORE));
});
player.addEventListener("play", () => { $("play").textContent = "Pause"; follow(); });
player.addEventListener("pause", () => ($("play").textContent = "Play"));
player.addEventListener("ended", () => { if (running) seek(shown.peak); });
player.addEventListener("error", refuse);
$("still").addEventListener("load", () => {
  $("still").hidden = false;
  $("unplayable").textContent = `${UNPLAYABLE}; this is its picture at the peak.`;
  $("screen").style.setProperty("--shape", $("still").naturalWidth / $("still").naturalHeight);
});

$("still").addEventListener("error", () => ($("unplayable").textContent = `${UNPLAYABLE}, and there is no picture of it.`));

function refuse() {
  if (!shown) return;
  playable = false;
  $("play").disabled = true;
  player.hidden = true;
  $("unplayable").hidden = false;
  $("unplayable").textContent = `${UNPLAYABLE}; its picture at the peak is looked for.`;
  $("still").src = `/still/${shown.id}?decode`;
  place(shown.peak);
}

// ---- verdicts

async function say(word) {
  if (!shown || busy) return;
  busy = true;
  const item = shown, time = word === "abnormal" ? here() : null; // null: the peak
  const news = await ask("/verdict", { item: item.id, word, time, who: $("who").value });
  busy = false;
  if (!news) return;
  given.push(item);
  skipped.delete(item.id);
  take(news);
  move(item);
}

function move(item) {
  const next = upcoming(items.indexOf(item));
  if (next) show(next);
  else stamp();
}

function skip() {
  if (!shown) return;
  skipped.add(shown.id);
  take({ verdicts, problems: [...$("problems").children].map((line) => line.textContent) });
  const next = upcoming(items.indexOf(shown));
  if (next && next !== shown) show(next);
  else if (!next) change(1);
}

async function undo() {
  const item = given.at(-1) ?? (shown && verdicts[shown.id] ? shown : null);
  if (!item || busy) return;
  busy = true;
  const news = await ask("/undo", { item: item.id, who: $("who").value });
  busy = false;
  if (!news) return;
  if (given.at(-1) === item) given.pop();
  take(news);
  if (item === shown) stamp();
  else show(item);
  if (!news.undone) trouble("No verdict of this page on the event is left to take back; `ssrl-pipeline feedback undo` takes back others.");
}

function change(by) {
  const next = items[items.indexOf(shown) + by];
  if (next) show(next);
}

// ---- keys and buttons

const KEYS = {
  n: () => say("normal"), a: () => say("abnormal"), s: skip, u: undo, " ": toggle,
  ArrowLeft: () => seek(playhead - STEP), ArrowRight: () => seek(playhead + STEP),
  ArrowUp: () => change(-1), ArrowDown: () => change(1),
};

addEventListener("keydown", (event) => {
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || !shown || event.ctrlKey || event.metaKey || event.altKey || event.repeat && event.key.length === 1) return;
  if (event.target === $("who") || (event.key === " " && event.target.closest("button, input"))) return;
  event.preventDefault();
  action();
}, true);
// What a pointer has pressed does not keep the keys: Space plays then, it does not press it again.
addEventListener("click", (event) => {
  if (event.detail && event.target.closest("button, input[type=checkbox]")) document.activeElement.blur();
});
const BUTTONS = { normal: "n", abnormal: "a", skip: "s", undo: "u", play: " ", back: "ArrowLeft", on: "ArrowRight",
  previous: "ArrowUp", next: "ArrowDown" };
for (const [id, key] of Object.entries(BUTTONS)) $(id).addEventListener("click", () => shown && KEYS[key]());
$("heat-on").addEventListener("change", drawHeat);
$("timeline").addEventListener("pointerdown", (event) => {
  const box = $("timeline").getBoundingClientRect();
  if (shown) seek(from() + ((event.clientX - box.left) / box.width) * (until() - from()));
});
$("who").value = localStorage.getItem("who") ?? "";
$("who").addEventListener("change", () => localStorage.setItem("who", $("who").value));

load();
setInterval(look, LOOK);
