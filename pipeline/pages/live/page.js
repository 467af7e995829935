"use strict";

const CURVE = 120; // seconds of scores that a curve shows
const BREAK = 15; // seconds without a score at which it is broken
const QUIET = 30000; // milliseconds without a sign of life after which the connection is made anew
const SHOWN = 60; // events that the server tells of at once
const MOST = 500; // events in the list
const AGAIN = 3000; // milliseconds until it is tried again
const HEALTH = {
  lost: "not there", clock: "the stream's clock stands still", frozen: "the picture is frozen",
  black: "the picture is black", covered: "the lens is covered", out_of_focus: "out of focus",
  moved: "the camera was moved",
};
const STATES = { waiting: "waiting", live: "live", lost: "lost", ended: "ended", failed: "failed" };

const at = (id) => document.getElementById(id);
const cameras = new Map(); // id -> what is known of it, with the elements of its tile
const events = new Map(); // id -> what is known of it, with its element
let run = null; // which start of `watch` all of this is from
let kept = false; // whether there are clips
let chosen = null; // the id of the event that is looked at
let source = null;
let heard = 0;

/* ---- What comes from the server ---- */

function connect() {
  if (source) source.close();
  heard = Date.now();
  source = new EventSource("/news");
  const on = (name, act) => source.addEventListener(name, (message) => {
    heard = Date.now();
    at("cut").hidden = true;
    act(JSON.parse(message.data));
  });
  on("state", showAll);
  on("news", (list) => list.forEach(takeNews));
  on("sign", () => {});
  source.onerror = () => { at("cut").hidden = false; };
}

function disconnect() {
  if (source) source.close();
  source = null;
}

setInterval(() => {
  if (document.hidden || !source) return;
  if (source.readyState === EventSource.CLOSED || Date.now() - heard > QUIET) {
    at("cut").hidden = false;
    connect();
  }
}, AGAIN);
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
addEventListener("pagehide", disconnect);

function showAll(state) {
  kept = state.kept;
  if (run !== state.run) {
    events.clear();
    at("events").replaceChildren();
    run = state.run;
  }
  const ids = new Set(state.cameras.map((one) => one.id));
  for (const [id, camera] of cameras) {
    if (!ids.has(id)) {
      camera.tile.remove();
      cameras.delete(id);
    }
  }
  for (const one of state.cameras) {
    const camera = cameras.get(one.id) || { ...makeTile(), id: one.id };
    cameras.set(one.id, Object.assign(camera, one, { points: one.points }));
    at("cameras").append(camera.tile); // in their order
    showCamera(camera);
    showCurve(camera);
    showPicture(camera);
  }
  for (const one of state.events) takeEvent(one, false);
  at("no-cameras").hidden = cameras.size > 0;
  at("no-events").hidden = events.size > 0;
  at("older").hidden = !kept || events.size < SHOWN;
  showOverview();
}

function takeNews(news) {
  if (news.type === "event") {
    takeEvent(news, true);
  } else {
    const camera = cameras.get(news.camera ?? news.id);
    if (!camera) return;
    if (news.type === "score") takeScore(camera, news);
    if (news.type === "picture") {
      camera.picture = news.picture;
      showPicture(camera);
    }
    if (news.type === "camera") {
      const { picture, score, ...rest } = news;
      Object.assign(camera, rest);
      showCamera(camera);
    }
  }
  showOverview();
}

function takeScore(camera, news) {
  const last = camera.points.at(-1);
  if (last && news.time_s <= last[0]) return; // it was in the state already
  camera.points.push([news.time_s, news.score]);
  while (camera.points[0][0] < news.time_s - CURVE) camera.points.shift();
  const before = camera.state;
  Object.assign(camera, { score: news.score, time: news.time, state: "live" });
  if (before !== "live") showCamera(camera);
  showCurve(camera);
}

/* ---- Cameras ---- */

function makeTile() {
  const tile = at("camera").content.cloneNode(true).firstElementChild;
  const find = (selector) => tile.querySelector(selector);
  return {
    tile, article: find("article"), image: find("img"), none: find(".picture p"), name_: find("h3"),
    badge: find(".badge"), svg: find("svg"), path: find("path"), line: find("line"), number: find("b"), note_: find(".note"),
  };
}

function showCamera(camera) {
  const open = [...events.values()].some((event) => event.open && event.camera === camera.name);
  const wrong = camera.health.filter((ill) => ill !== "lost");
  const away = camera.state !== "live";
  camera.name_.textContent = camera.name;
  camera.article.classList.toggle("alarm", open && !away);
  camera.article.classList.toggle("away", away);
  camera.image.alt = `Latest picture of ${camera.name}`;
  const bad = camera.state === "lost" || camera.state === "failed" || wrong.length > 0;
  const kind = open && !away ? "alarm" : bad ? "wrong" : camera.state === "live" ? "live" : "";
  camera.badge.className = `badge ${kind}`;
  camera.badge.textContent = kind === "alarm" ? "event" : !away && bad ? "not well" : STATES[camera.state];
  const notes = wrong.map((ill) => HEALTH[ill] ?? ill);
  if (camera.note) notes.push(camera.note);
  if (camera.dropped) notes.push(`${camera.dropped} frames not scored`);
  camera.note_.textContent = notes.join("; ");
  camera.note_.classList.toggle("wrong", bad);
}

function showPicture(camera) {
  if (!camera.picture) return;
  if (camera.image.dataset.busy) return; // the next one comes
  camera.image.dataset.busy = "1";
  camera.image.onload = camera.image.onerror = () => {
    delete camera.image.dataset.busy;
    camera.image.hidden = !camera.image.naturalWidth;
    camera.none.hidden = !camera.image.hidden;
  };
  camera.image.src = `/picture/${camera.id}?n=${camera.picture}`;
}

function showCurve(camera) {
  const { points, threshold } = camera;
  const y = (score) => (31 - 30 * Math.min(1, Math.max(0, score))).toFixed(2);
  camera.line.setAttribute("y1", y(threshold));
  camera.line.setAttribute("y2", y(threshold));
  if (!points.length) {
    camera.path.removeAttribute("d");
    camera.number.textContent = "–";
    camera.svg.setAttribute("aria-label", "No score yet");
    return;
  }
  const end = points.at(-1)[0];
  let path = "", before = -Infinity;
  for (const [time, score] of points) {
    const x = 100 - (100 * (end - time)) / CURVE;
    if (x < 0) continue;
    path += `${time - before > BREAK ? "M" : "L"}${x.toFixed(2)} ${y(score)}`;
    before = time;
  }
  camera.path.setAttribute("d", path);
  const score = points.at(-1)[1];
  const highest = Math.max(...points.map((point) => point[1]));
  camera.number.textContent = score.toFixed(2);
  camera.svg.setAttribute(
    "aria-label",
    `Scores of the last two minutes: now ${score.toFixed(2)}, highest ${highest.toFixed(2)}, ` +
      `an event from ${threshold.toFixed(2)}`,
  );
}

function showOverview() {
  const all = [...cameras.values()];
  const live = all.filter((camera) => camera.state === "live").length;
  const open = [...events.values()].filter((event) => event.open).length;
  const count = `${live} of ${all.length} ${all.length === 1 ? "camera" : "cameras"} live`;
  const text = all.length ? count + (open ? `, ${open === 1 ? "an event" : `${open} events`} now` : "") : "Starting";
  if (at("overview").textContent !== text) at("overview").textContent = text;
}

/* ---- Events ---- */

function takeEvent(event, isNew) {
  const known = events.get(event.id);
  const entry = Object.assign(known ?? { element: makeEvent(event.id) }, event);
  events.set(event.id, entry);
  if (!known) placeEvent(entry);
  if (isNew && events.size > MOST) forgetOldest();
  showEvent(entry);
  at("no-events").hidden = true;
  for (const camera of cameras.values()) if (camera.name === event.camera) showCamera(camera);
  if (isNew && event.open) at("spoken").textContent = `Event: ${event.camera}, ${whenOf(event)}`;
  if (chosen === event.id) showViewer(entry, false);
}

function makeEvent(id) {
  const element = at("event").content.cloneNode(true).firstElementChild;
  element.querySelector("button").addEventListener("click", () => view(id));
  return element;
}

function placeEvent(entry) {
  const later = [...at("events").children].find((one) => Number(one.dataset.made) < entry.made);
  entry.element.dataset.made = entry.made;
  entry.element.dataset.id = entry.id;
  at("events").insertBefore(entry.element, later ?? null);
}

function forgetOldest() {
  const last = at("events").lastElementChild;
  if (last.dataset.id === chosen) return;
  events.delete(last.dataset.id);
  last.remove();
  at("older").disabled = false;
}

function showEvent(event) {
  const image = event.element.querySelector("img");
  const [name, when, more] = event.element.querySelector(".what").children;
  event.element.classList.toggle("open", event.open);
  image.classList.toggle("none", !event.still);
  const address = stillOf(event);
  if (event.still && image.getAttribute("src") !== address) image.src = address;
  name.textContent = event.camera;
  when.textContent = whenOf(event) + (event.open ? ", now" : "");
  more.textContent = wordsOf(event);
}

const stillOf = (event) => `/still/${event.id}?open=${event.open ? 1 : 0}`; // the peak's may be another

function whenOf(event) {
  if (event.start_time) {
    const day = new Date(event.start_time);
    const today = day.toDateString() === new Date().toDateString();
    const time = day.toLocaleTimeString();
    return today ? time : `${day.toLocaleDateString()} ${time}`;
  }
  return `at ${clock(event.start_s ?? 0)}`; // of a recording
}

function clock(seconds) {
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function wordsOf(event) {
  const parts = [`score ${(event.peak_score ?? 0).toFixed(2)}`];
  if (event.end_s != null) parts.push(`${Math.max(1, Math.round(event.end_s - event.start_s))} s`);
  if (event.words?.length) parts.push(event.words.join(", "));
  if (event.zones?.length) parts.push(`in ${event.zones.join(", ")}`);
  if (event.alarm === false) parts.push("outside the hours");
  if (event.verdict) parts.push(`called ${event.verdict}`);
  return parts.join(" · ");
}

at("older").addEventListener("click", async () => {
  const oldest = Math.min(...[...events.values()].map((event) => event.made), Infinity);
  const answer = await fetch(`/events${oldest < Infinity ? `?before=${oldest}` : ""}`);
  if (!answer.ok) return;
  const list = await answer.json();
  list.forEach((event) => takeEvent(event, false));
  at("older").disabled = list.length === 0;
  if (list.length) events.get(list[0].id).element.querySelector("button").focus();
});

/* ---- One event, looked at ---- */

function view(id) {
  chosen = id;
  showViewer(events.get(id), true);
  if (!at("viewer").open) at("viewer").showModal();
  (events.get(id).clip ? at("player") : at("close")).focus();
}

function showViewer(event, anew) {
  const player = at("player"), large = at("large");
  at("viewer-title").textContent = `${event.camera}, ${whenOf(event)}`;
  at("said").textContent = wordsOf(event);
  const address = `/clip/${event.id}`;
  player.hidden = !event.clip;
  large.hidden = event.clip || !event.still;
  if (event.clip && (anew || player.getAttribute("src") !== address)) {
    say("");
    player.src = address;
    player.play().catch(() => {}); // the error is told by its own event
  }
  if (!event.clip) {
    player.removeAttribute("src");
    player.load();
    say(event.open ? "The clip is there when the event has ended." : whyNone());
    if (event.still) large.src = stillOf(event);
  }
  const list = [...at("events").children], place = list.indexOf(event.element);
  at("previous").disabled = place === 0;
  at("next").disabled = place === list.length - 1;
}

const say = (text) => { at("nothing").textContent = text; };
const whyNone = () => (kept ? "There is no clip of this event, or it was removed." : "No clips are kept: start watch with --events FOLDER.");

function step(by) {
  const element = events.get(chosen)?.element;
  const other = by > 0 ? element?.nextElementSibling : element?.previousElementSibling;
  if (other) view(other.dataset.id);
}

at("player").addEventListener("error", () => {
  if (at("player").getAttribute("src")) {
    say("This browser cannot play the clip. Where it is H.265, -o alarms.hevc=encode makes later ones play everywhere.");
  }
});
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
at("close").addEventListener("click", () => at("viewer").close());
at("viewer").addEventListener("close", () => {
  const event = events.get(chosen);
  chosen = null;
  at("player").pause();
  event?.element.querySelector("button").focus();
});
at("viewer").addEventListener("click", (click) => {
  if (click.target === at("viewer")) at("viewer").close(); // beside it
});
at("viewer").addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey) return;
  const way = { ArrowDown: 1, ArrowUp: -1 }[key.key];
  if (!way) return;
  key.preventDefault(); // the player has the focus, and would change its volume
  step(way);
}, true);

connect();
