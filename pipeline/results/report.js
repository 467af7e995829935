"use strict";
// The state is the chosen video and the frame at the playhead; all that is shown follows from these.

const page = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const MARGIN = { l: 46, r: 14, t: 20, b: 34 }; // of the plot, in pixels: where its axes begin
const TICKS = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
];
const player = $("player"), plot = $("plot"), timeline = $("timeline");
let video, frame = 0, playable = true, levels = null, current = -1;
let ahead = 0; // seconds that the player's clock is before the video's: of files that do not begin at zero
let sought = false; // since the video was chosen
let begins = null; // the first frame of each snippet; null: they are all as long

// ---- words and numbers

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children); // strings become text, never markup
  return made;
}

function clock(seconds, digits = 1) {
  const units = Math.round(seconds * 10 ** digits) / 10 ** digits;
  const hours = Math.floor(units / 3600), minutes = Math.floor(units / 60) % 60;
  const rest = (units % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

const number = (score) => score.toFixed(4);
const count = (n, word) => `${n || "no"} ${word}${n === 1 ? "" : "s"}`;
const when = (entry, at) => (entry.fps ? clock(span(entry, at)[0]) : `frame ${at}`);

// ---- frames, media time and the axis

// From one knot to the next a frame lasts as long as the other; two of one frame lie around a pause before it.
const knots = (entry) => entry.times ||
  { frames: [0, entry.frames], seconds: [0, entry.fps ? entry.duration_s : player.duration] };
const clamp = (at) => Math.max(0, Math.min(video.frames - 1, at));
const start = (at) => (video.fps ? span(video, at)[0] : at); // on the axis
const end = (at) => (video.fps ? span(video, at - 1)[1] : at); // of the frame before

function span(entry, at) {
  // In seconds, from when and until when a frame is shown.
  const { frames, seconds } = knots(entry), k = lastUpTo(frames, at);
  const length = (seconds[k + 1] - seconds[k]) / (frames[k + 1] - frames[k]);
  const from = seconds[k] + (at - frames[k]) * length;
  return [from, from + length];
}

function frameAt(time) {
  const { frames, seconds } = knots(video), k = Math.min(lastUpTo(seconds, time), frames.length - 2);
  const each = (frames[k + 1] - frames[k]) / (seconds[k + 1] - seconds[k]);
  const at = Math.floor(frames[k] + (time - seconds[k]) * each + 1e-3);
  return clamp(Math.min(at, frames[k + 1] - 1)); // in a pause, the frame before it
}

function pauses() {
  const { frames, seconds } = knots(video);
  return frames.flatMap((at, k) => (at === frames[k + 1] ? [{ at, from: seconds[k], to: seconds[k + 1] }] : []));
}

function lastUpTo(sorted, value) {
  let low = 0, high = sorted.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle;
    else high = middle;
  }
  return low;
}

const scoreAt = (at) => video.curve.scores[lastUpTo(video.curve.frames, at)];

function seek(at) {
  const [from, to] = span(video, clamp(at));
  const target = (from + to) / 2; // of a frame its edge may show the one before
  if (playable && Number.isFinite(target)) {
    player.currentTime = target + ahead;
    sought = true;
  }
  show(clamp(at));
}

// A snippet lasts as many frames as the page says or, of a recipe with a rate, as the video's list of lengths does.
const snippetAt = (at) => (begins ? lastUpTo(begins, at) : Math.floor(at / page.snippet_frames));
const snippetStart = (index) =>
  begins ? begins[Math.max(0, Math.min(index, begins.length - 1))] : index * page.snippet_frames;
const step = (snippets) => seek(snippetStart(snippetAt(frame) + snippets));

function jump(direction) {
  // Shortly behind a start, "previous" means the event before.
  const before = start(frame) - (video.fps ? 0.5 : 12);
  const starts = video.events.map((event) => event.start_frame);
  const target = direction > 0 ? starts.find((at) => at > frame) : starts.filter((at) => start(at) < before).pop();
  if (target !== undefined) seek(target);
}

function toggle() {
  if (!playable) return;
  if (player.paused) player.play().catch(() => {}); // refusals arrive as the player's "error"
  else player.pause();
}

// ---- what follows the playhead

function show(at) {
  frame = at;
  const score = scoreAt(at);
  const place = video.fps ? `${clock(start(at), 2)}, frame ${at}` : `frame ${at}`;
  const text = `${place}: score ${video.curve.exact ? "" : "about "}${number(score)}`;
  $("readout").textContent = text;
  timeline.setAttribute("aria-valuenow", at);
  timeline.setAttribute("aria-valuetext", text);
  placePlayhead(score);
  drawHeat();
  markEvent(video.events.findIndex((event) => event.start_frame <= at && at < event.end_frame));
}

function markEvent(index) {
  if (index === current) return;
  const buttons = $("videos").querySelectorAll(".chosen .event");
  buttons[current]?.removeAttribute("aria-current");
  buttons[index]?.setAttribute("aria-current", "true");
  if (buttons[index]) reveal(buttons[index]);
  current = index;
}

function reveal(button) {
  // In the list, where it scrolls by itself: the page stays where it is.
  const list = $("videos"), own = button.getBoundingClientRect(), box = list.getBoundingClientRect();
  list.scrollTop += Math.max(0, own.bottom - box.bottom + 8) + Math.min(0, own.top - box.top - 8);
}

function placePlayhead(score) {
  // By what is drawn: the timeline may have another size already, and the plot follows a little later.
  const box = plot.querySelector(".nsewdrag"), head = $("playhead"), { xaxis, yaxis } = plot.layout;
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(box.getAttribute(name)));
  const share = (start(frame) - xaxis.range[0]) / (xaxis.range[1] - xaxis.range[0]);
  head.hidden = share < 0 || share > 1;
  head.style.transform = `translate(${x + share * width - 1}px, ${y}px)`;
  head.style.height = `${height}px`;
  $("dot").style.transform = `translateY(${(1 - score / yaxis.range[1]) * height}px)`;
}

function drawHeat() {
  const shown = levels !== null && playable && $("heat-on").checked;
  $("heat").hidden = !shown;
  if (!shown) return;
  const { rows, columns, snippets } = video.heat, canvas = $("heat");
  const map = Math.floor(snippetAt(frame) / snippets) * rows * columns;
  const last = levels.length - rows * columns; // frames behind the last snippet have its map
  const image = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    image.data.set([255, 60, 0, levels[Math.min(map, last) + i] * 0.6], 4 * i);
  }
  [canvas.width, canvas.height] = [columns, rows];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function follow() {
  if (video.fps || Number.isFinite(player.duration)) show(frameAt(player.currentTime - ahead));
  if (!player.paused && !player.ended) requestAnimationFrame(follow);
}

// ---- the timeline

function points() {
  // Of the curve: place on the axis, score and frame. It breaks off where the video pauses.
  const { frames, scores } = video.curve, last = video.frames;
  const made = [...frames.map((at, i) => [start(at), scores[i], at]), [end(last), scores.at(-1), last - 1]];
  for (const { at, from, to } of video.fps ? pauses() : []) {
    made.push([from, scoreAt(at - 1), at - 1], [from, null, at - 1], [to, scoreAt(at), at]);
  }
  return made.sort((one, other) => one[0] - other[0]);
}

function draw() {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const { curve, rule } = video;
  const shown = Math.max(video.max, rule.threshold), top = shown > 0.4 ? 1.02 : 1.25 * shown;
  const made = points(), [x, y] = [0, 1].map((i) => made.map((point) => point[i]));
  const words = made.map(([, , at]) => `${when(video, at)}<br>score ${number(scoreAt(at))}`);
  const shade = { x: [], y: [] };
  for (const { start_frame, end_frame } of video.events) {
    const [from, to] = [start(start_frame), end(end_frame)];
    shade.x.push(from, from, to, to, null);
    shade.y.push(0, top, top, 0, null);
  }
  const truth = (video.truth || []).map(([first, behind]) => ({
    type: "rect", xref: "x", yref: "paper", x0: start(first), x1: end(behind), y0: 1.015, y1: 1.05,
    fillcolor: colour("truth"), line: { color: colour("truth"), width: 1 },
  }));
  const line = (at, dash) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: at, y1: at, line: { color: colour("mark"), width: 1.5, dash },
  });
  const axis = { gridcolor: colour("edge"), linecolor: colour("edge"), zeroline: false, color: colour("faint") };
  const traces = [
    {
      ...shade, type: "scatter", mode: "lines", fill: "toself", fillcolor: `${colour("event")}55`,
      line: { color: colour("event"), width: 1 }, hoverinfo: "skip",
    },
    {
      x, y, text: words, type: "scatter", mode: "lines", hoverinfo: "text",
      line: { color: colour("curve"), width: curve.frames.length < 500 ? 2 : 1, shape: curve.exact ? "hv" : "linear" },
    },
  ];
  const layout = {
    showlegend: false, margin: MARGIN, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { color: colour("ink"), family: "system-ui, sans-serif", size: 12 },
    hovermode: "x", hoverdistance: -1, hoverlabel: { bgcolor: colour("panel"), font: { color: colour("ink") } },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: { ...axis, range: [0, end(video.frames)], showspikes: true, spikethickness: 1, spikedash: "dot" },
    yaxis: { ...axis, range: [0, top], fixedrange: true },
    shapes: [line(rule.threshold, "dash"), ...(rule.low < rule.threshold ? [line(rule.low, "dot")] : []), ...truth],
    annotations: [{
      xref: "paper", x: 1, xanchor: "right", y: rule.threshold, yanchor: "bottom", showarrow: false,
      text: `threshold ${rule.threshold.toPrecision(4)}`, font: { color: colour("mark") }, bgcolor: colour("paper"),
    }],
  };
  Object.assign(layout.xaxis, ticks(layout.xaxis.range));
  Plotly.react(plot, traces, layout, { displayModeBar: false });
}

function ticks([from, to]) {
  if (!video.fps) return { title: { text: "frame", standoff: 2 } };
  const most = Math.max(2, timeline.clientWidth / 75);
  const size = TICKS.find((tick) => (to - from) / tick <= most) || (to - from) / most;
  const first = Math.ceil(from / size - 1e-9);
  const values = Array.from({ length: Math.max(0, Math.floor(to / size + 1e-9) - first + 1) }, (_, i) => (first + i) * size);
  return { tickmode: "array", tickvals: values, ticktext: values.map((value) => clock(value, size < 1 ? 1 : 0)) };
}

function watchTimeline() {
  let pressed = null;
  timeline.addEventListener("pointerdown", (event) => (pressed = event.button === 0 ? event.clientX : null));
  addEventListener("pointercancel", () => (pressed = null));
  addEventListener("pointerup", (event) => {
    if (pressed !== null && Math.abs(event.clientX - pressed) < 5) {
      const box = timeline.getBoundingClientRect(), [from, to] = plot.layout.xaxis.range;
      const share = (event.clientX - box.left - MARGIN.l) / (box.width - MARGIN.l - MARGIN.r);
      const place = from + share * (to - from);
      seek(video.fps ? frameAt(place) : Math.floor(place));
    }
    pressed = null;
  });
  const adapt = () => {
    Plotly.relayout(plot, Object.fromEntries(
      Object.entries(ticks(plot.layout.xaxis.range)).map(([key, value]) => [`xaxis.${key}`, value]),
    ));
    placePlayhead(scoreAt(frame));
  };
  plot.on("plotly_relayout", (changed) => {
    if (Object.keys(changed).some((key) => /^xaxis\.(range|autorange)/.test(key))) adapt();
  });
  // Plotly itself follows the window, but not what moves inside it.
  new ResizeObserver(() => Plotly.Plots.resize(plot).then(adapt)).observe(timeline);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { draw(); show(frame); });
}

// ---- the chosen video

function choose(index) {
  player.pause();
  video = page.videos[index];
  playable = true;
  let last = 0;
  begins = video.snippets && [0, ...video.snippets.map((length) => (last += length))];
  levels = video.heat && Uint8Array.from(atob(video.heat.levels), (c) => c.charCodeAt(0));
  $("name").textContent = video.name;
  const peak = `highest score ${number(video.max)} at ${when(video, video.peak_frame)}`;
  const over = video.times ? ` over ${clock(video.duration_s)}, about` : " at";
  const size = `${video.frames} frames${video.fps ? `${over} ${+video.fps.toFixed(3)} a second` : ", rate unknown"}`;
  $("numbers").textContent = `${count(video.events.length, "event")}; ${peak}; mean ${number(video.mean)}; ${size}`;
  $("origin").textContent = `Model ${video.model.kind}, ${video.checkpoint}; recipe ${video.recipe.backbone}, ` +
    `${video.recipe.preset}; threshold ${video.rule.threshold.toPrecision(4)} of ${video.rule.threshold_from}`;
  setShape(video.width, video.height);
  $("unplayable").hidden = true;
  $("heat-choice").hidden = levels === null;
  $("truth").hidden = !video.truth;
  for (const id of ["previous", "next"]) $(id).disabled = !video.events.length;
  $("play").disabled = false;
  player.setAttribute("aria-label", `Video ${video.name}`);
  player.src = video.link;
  findBeginning();
  timeline.setAttribute("aria-valuemax", video.frames - 1);
  for (const marked of $("videos").querySelectorAll("[aria-current]")) marked.removeAttribute("aria-current");
  current = -1;
  [...$("videos").children].forEach((item, i) => {
    item.classList.toggle("chosen", i === index);
    item.querySelector(".video").setAttribute("aria-pressed", i === index);
  });
  listFacts();
  draw();
  show(0);
}

function findBeginning() {
  // The first frame that the player shows is frame 0: some take a file's clock as it is, others let it begin at zero.
  const chosen = video;
  [ahead, sought] = [0, false];
  player.requestVideoFrameCallback?.((_, { mediaTime }) => {
    const late = mediaTime - (chosen.fps ? span(chosen, 0)[0] : 0);
    if (chosen !== video || sought || late < 0.05) return;
    ahead = late;
    follow();
  });
}

function setShape(width, height) {
  $("screen").style.setProperty("--shape", (width || 16) / (height || 9));
}

function listFacts() {
  const { rule } = video;
  const say = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const list = (facts) => Object.entries(facts).map(([key, value]) => `${key} ${say(value)}`).join("; ");
  const facts = {
    Model: list(video.model),
    Checkpoint: video.checkpoint,
    ...Object.fromEntries(Object.entries(video.recipe).map(([key, value]) => [`Recipe: ${key}`, say(value)])),
    Threshold: `${rule.threshold} of ${rule.threshold_from}; an event goes on down to ${+rule.low.toPrecision(7)}`,
    Events: `of at least ${rule.shortest} s; those at most ${rule.gap} s apart are one`,
    Video: video.video,
    Decoder: video.decoder,
    Version: `ssrl-pipeline ${page.version}`,
  };
  $("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]),
  );
}

function listVideos() {
  const events = page.videos.reduce((sum, entry) => sum + entry.events.length, 0);
  $("overview").textContent = `${count(page.videos.length, "video")}, ${count(events, "event")}`;
  $("videos").replaceChildren(...page.videos.map((entry, i) => {
    const peak = `highest ${number(entry.max)} at ${when(entry, entry.peak_frame)}`;
    const head = element("button", { type: "button", className: "video", onclick: () => choose(i) },
      element("strong", {}, entry.name),
      element("span", { className: "faint" }, entry.events.length ? peak : `no event; ${peak}`),
    );
    const listed = entry.events.map((event) => element("li", {}, eventButton(entry, i, event)));
    return element("li", {}, head, ...(listed.length ? [element("ol", { className: "events" }, ...listed)] : []));
  }));
}

function eventButton(entry, index, event) {
  const until = entry.fps ? clock(event.end_s) : `frame ${event.end_frame}`;
  const words = element("span", {},
    element("strong", {}, `${event.event}. ${when(entry, event.start_frame)} \u2013 ${until}`),
    element("span", {}, `highest ${number(event.peak_score)} at ${when(entry, event.peak_frame)}`),
    ...(event.words.length ? [element("span", {}, `looks like ${event.words.join(", ")} (${event.patch})`)] : []),
  );
  const go = () => {
    if (entry !== video) choose(index);
    seek(event.start_frame);
    $("screen").scrollIntoView({ block: "nearest" }); // on a phone it is above
  };
  const title = `mean ${number(event.mean_score)}, frames ${event.start_frame} to ${event.end_frame - 1}`;
  const button = element("button", { type: "button", className: "event", title, onclick: go });
  if (event.picture) button.append(element("img", { src: event.picture, alt: "", width: 96, loading: "lazy" }));
  button.append(words);
  return button;
}

function tellOfReview() {
  // A server of `review` shows this page with ?review, which is the way back to it.
  const served = location.protocol.startsWith("http") && new URLSearchParams(location.search).has("review");
  const folders = decodeURIComponent(location.pathname).split("/").slice(0, -1);
  const name = folders.at(-1) || "FOLDER";
  $("review-command").textContent = `ssrl-pipeline review ${/^[\w.,:@%+-]+$/.test(name) ? name : `'${name}'`}`;
  $("review-command").title = folders.join("/");
  $("review-link").hidden = !served;
  $("review-hint").hidden = served;
  if (served) $("review-link").href = "./";
}

function refuse() {
  playable = false;
  $("play").disabled = true;
  $("heat").hidden = true;
  $("unplayable").hidden = false;
  $("unplayable").textContent =
    `This browser cannot play ${video.name}. Either it is no longer where it was scored (${video.video}), ` +
    "or it is of a kind that browsers do not play, such as AVI and MPEG-4 part 2; ffmpeg -i INPUT -c:v libx264 " +
    "-pix_fmt yuv420p OUTPUT.mp4 makes a copy that they do. The timeline and the events work without it.";
}

// ---- keys and buttons

function watchPlayer() {
  player.addEventListener("error", refuse);
  player.addEventListener("loadedmetadata", () => {
    if (player.videoWidth) setShape(player.videoWidth, player.videoHeight);
    else refuse(); // it has found sound, and no pictures that it knows
  });
  player.addEventListener("play", follow);
  for (const kind of ["timeupdate", "seeked"]) {
    player.addEventListener(kind, () => { if (player.paused) follow(); });
  }
  for (const kind of ["play", "pause", "emptied"]) {
    player.addEventListener(kind, () => ($("play").textContent = player.paused ? "Play" : "Pause"));
  }
}

const KEYS = { " ": toggle, ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowDown: () => jump(1),
  ArrowUp: () => jump(-1) };

addEventListener("keydown", (event) => {
  const action = KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && event.target.closest("button, summary, input")) return; // they are pressed by it
  event.preventDefault();
  action();
}, true);
$("play").addEventListener("click", toggle);
$("back").addEventListener("click", () => step(-1));
$("on").addEventListener("click", () => step(1));
$("previous").addEventListener("click", () => jump(-1));
$("next").addEventListener("click", () => jump(1));
$("heat-on").addEventListener("change", drawHeat);

watchPlayer();
tellOfReview();
listVideos();
choose(0);
watchTimeline();
