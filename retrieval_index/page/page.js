// The page: what is asked, what is found, what is selected. Sounds are played by player.js.

import { ask, json } from "./ask.js";
import { addressOf, attach, clock, stop } from "./player.js";

const by = (id) => document.getElementById(id);
const selected = new Map(); // clip_id -> hit
let about = null;
let subject = null; // { clip, name } or { file, isPicture, name }: asked instead of words
let asking = null; // stops the question before, when another one is asked

function say(text, isProblem = false) {
  by("status").textContent = text;
  by("status").classList.toggle("problem", isProblem);
}

function complain(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) return askForToken();
  say(sentence(error.message), true);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
const count = (number, one, many) => `${number.toLocaleString()} ${number === 1 ? one : many}`;
const listed = (text) => text.split(",").map((term) => term.trim()).filter(Boolean);

// --- what is asked --------------------------------------------------------------------------------------------------

function options() {
  const asked = { k: Math.min(Number(by("count").value), about?.most_clips ?? 20) };
  const plus = listed(by("plus").value);
  const minus = listed(by("minus").value);
  const where = by("where").value.trim();
  if (plus.length) asked.plus = plus;
  if (minus.length) asked.minus = minus;
  if (where) asked.where = where;
  return asked;
}

function setSubject(value) {
  subject = value;
  by("subject").hidden = !value;
  by("text").hidden = Boolean(value);
  if (!value?.file) by("subject-text").textContent = value ? `Like: ${value.name}` : "";
  else by("subject-text").textContent = `${value.isPicture ? "Fits" : "Sounds like"} ${value.name}`;
}

async function search({ remember = true } = {}) {
  const asked = options();
  const text = by("text").value.trim();
  if (!subject && !text && !asked.plus) {
    by("text").focus();
    return say("Say what you would like to hear, or give a sound.");
  }
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  by("search").closest("main").setAttribute("aria-busy", "true");
  say("Searching …");
  try {
    const found = await (subject?.file ? askByFile(asked, signal) : askByWords(asked, text, signal));
    if (remember && !subject?.file) rememberAddress(asked, text);
    show(found);
  } catch (error) {
    complain(error);
  } finally {
    if (!signal.aborted) by("search").closest("main").setAttribute("aria-busy", "false");
  }
}

function askByWords(asked, text, signal) {
  const question = subject ? { ...asked, clip: subject.clip } : text ? { ...asked, text } : asked;
  return ask("/api/search", { ...json(question), signal });
}

function askByFile(asked, signal) {
  const parameters = new URLSearchParams({ k: asked.k });
  for (const name of ["plus", "minus"]) for (const term of asked[name] ?? []) parameters.append(name, term);
  if (asked.where) parameters.set("where", asked.where);
  const headers = { "content-type": "application/octet-stream" };
  return ask(`/api/search/${subject.isPicture ? "picture" : "sound"}?${parameters}`, { method: "POST", headers, body: subject.file, signal });
}

function takeFile(file) {
  if (!file) return;
  if (about && file.size > about.most_upload_bytes) {
    return say(`A file may have ${Math.round(about.most_upload_bytes / 2 ** 20)} MB at most.`, true);
  }
  const isPicture = file.type.startsWith("image/") || (about?.sees && file.type.startsWith("video/"));
  setSubject({ file, isPicture, name: file.name });
  search();
}

// --- the address of the page: a question can be shared, and the way back leads to the one before ----------------------

function rememberAddress(asked, text) {
  const parameters = new URLSearchParams();
  if (subject) {
    parameters.set("clip", subject.clip);
    parameters.set("name", subject.name);
  } else if (text) parameters.set("text", text);
  for (const name of ["plus", "minus", "where"]) if (by(name).value.trim()) parameters.set(name, by(name).value.trim());
  if (asked.k !== 20) parameters.set("k", asked.k);
  const address = `#${parameters}`;
  if (address !== location.hash) history.pushState(null, "", address);
  document.title = `${text || subject?.name || "foundsound"} · foundsound`;
}

function readAddress() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const name of ["text", "plus", "minus", "where"]) by(name).value = parameters.get(name) ?? "";
  by("refine").open = ["plus", "minus", "where"].some((name) => parameters.has(name));
  if ([...by("count").options].some((option) => option.value === parameters.get("k"))) by("count").value = parameters.get("k");
  const clip = parameters.get("clip");
  setSubject(clip ? { clip, name: parameters.get("name") || clip } : null);
  if (clip || parameters.has("text") || parameters.has("plus")) search({ remember: false });
  else clear();
}

function clear() {
  asking?.abort();
  by("search").closest("main").setAttribute("aria-busy", "false");
  stop();
  by("results").replaceChildren();
  by("empty").hidden = false;
  say("");
}

// --- what is found --------------------------------------------------------------------------------------------------

function show({ hits, seconds }) {
  stop();
  by("empty").hidden = true;
  by("results").replaceChildren(...hits.map(card));
  const time = seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`;
  if (hits.length) say(`${count(hits.length, "clip", "clips")}, best first · ${time}`);
  else say("No clip fits. A filter may be too narrow.");
}

function card(hit) {
  const item = by("hit").content.firstElementChild.cloneNode(true);
  const article = item.querySelector("article");
  const find = (selector) => article.querySelector(selector);
  find("h2").textContent = hit.caption || "Without a caption";
  find("h2").id = `clip-${hit.clip_id}`;
  article.setAttribute("aria-labelledby", find("h2").id);
  find("img").src = addressOf(hit.clip_id, "spectrogram");
  markSpan(find(".span"), hit);
  showScore(find(".score"), hit.score);
  find(".place").textContent = isWhole(hit)
    ? `all of ${clock(hit.duration_s)}`
    : `${clock(hit.start_s)} to ${clock(hit.end_s)} of ${clock(hit.duration_s)}`;
  if (hit.copies.length) find(".place").textContent += ` · and ${count(hit.copies.length, "copy", "copies")}`;
  find(".labels").append(...hit.labels.map(labelButton));
  if (hit.has_video) {
    find(".film").hidden = false;
    films.observe(find("video"));
    find("video").dataset.src = `${addressOf(hit.clip_id, "video")}#t=${hit.start_s}`;
  }
  const box = find(".check input");
  box.checked = selected.has(hit.clip_id);
  article.classList.toggle("is-selected", box.checked);
  box.setAttribute("aria-label", `Select: ${hit.caption || hit.clip_id}`);
  box.addEventListener("change", () => {
    if (box.checked) selected.set(hit.clip_id, hit);
    else selected.delete(hit.clip_id);
    article.classList.toggle("is-selected", box.checked);
    showSelected();
  });
  find(".like").addEventListener("click", () => {
    setSubject({ clip: hit.clip_id, name: hit.caption || hit.clip_id });
    window.scrollTo({ top: 0 });
    by("status").focus({ preventScroll: true });
    search();
  });
  find(".more").setAttribute("aria-expanded", "false");
  find(".more").addEventListener("click", () => toggleDetails(article, hit));
  attach(article, hit);
  return item;
}

const isWhole = (hit) => hit.end_s - hit.start_s > 0.98 * hit.duration_s;

function markSpan(span, hit) {
  span.classList.toggle("is-whole", isWhole(hit));
  span.style.left = `${(100 * hit.start_s) / hit.duration_s}%`;
  span.style.right = `${Math.max(100 - (100 * hit.end_s) / hit.duration_s, 0)}%`;
}

function showScore(place, score) {
  const [bar, filled] = [document.createElement("span"), document.createElement("span")];
  bar.className = "score-bar";
  filled.style.width = `${100 * Math.max(score, 0)}%`;
  bar.append(filled);
  place.append(bar, score.toFixed(2));
  place.title = "How near it is: the cosine, from -1 to 1";
}

function labelButton(label) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.title = `Only clips with the label ${label}`;
  button.addEventListener("click", () => {
    const condition = `list_contains(clips.labels, '${label.replaceAll("'", "''")}')`;
    const before = by("where").value.trim();
    if (before.includes(condition)) return;
    by("where").value = before ? `(${before}) AND ${condition}` : condition;
    by("refine").open = true;
    search();
  });
  return button;
}

async function toggleDetails(article, hit) {
  const list = article.querySelector(".details");
  const button = article.querySelector(".more");
  list.hidden = !list.hidden;
  button.setAttribute("aria-expanded", String(!list.hidden));
  if (list.hidden || list.childElementCount) return;
  try {
    const facts = await ask(`/api/clips/${encodeURIComponent(hit.clip_id)}`);
    const said = facts.captions.map((text, number) => `${text} (${facts.caption_sources[number] ?? "?"})`);
    const rows = [
      ["Clip", hit.clip_id],
      ["Of", `${facts.platform} ${facts.video_id}, from ${clock(facts.start_s)}`],
      ["Captions", said.join(" · ") || "none"],
      ["Split", facts.split],
      ["Licence", facts.licence ?? "not stated"],
      ["Sound", `${facts.sample_rate_hz.toLocaleString()} Hz, ${facts.duration_s.toFixed(1)} s`],
    ];
    for (const [term, text] of rows) {
      const [name, value] = [document.createElement("dt"), document.createElement("dd")];
      name.textContent = term;
      value.textContent = text;
      list.append(name, value);
    }
  } catch (error) {
    complain(error);
  }
}

const films = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting || target.src) continue;
      target.preload = "metadata";
      target.src = target.dataset.src;
      films.unobserve(target);
    }
  },
  { rootMargin: "300px" },
);

// --- what is selected -----------------------------------------------------------------------------------------------

function showSelected() {
  by("selection").hidden = selected.size === 0;
  by("selected-count").textContent = `${selected.size.toLocaleString()} selected`;
}

function download(name, lines, kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const rows = () => [...selected.values()].map(({ clip_id, start_s, end_s, score }) => ({ clip_id, start_s, end_s, score }));

by("export-csv").addEventListener("click", () => {
  const lines = rows().map((row) => Object.values(row).join(","));
  download("clips.csv", ["clip_id,start_s,end_s,score", ...lines], "text/csv");
});
by("export-jsonl").addEventListener("click", () => {
  download("clips.jsonl", rows().map((row) => JSON.stringify(row)), "application/jsonl");
});
by("clear").addEventListener("click", () => {
  selected.clear();
  for (const box of document.querySelectorAll(".check input")) {
    box.checked = false;
    box.closest("article").classList.remove("is-selected");
  }
  showSelected();
  by("status").focus({ preventScroll: true });
});
by("keep").addEventListener("click", () => {
  by("keep-problem").textContent = "";
  by("keep-dialog").showModal();
});
by("keep-cancel").addEventListener("click", () => by("keep-dialog").close());
by("keep-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const made = await ask("/api/selections", json({ name: by("keep-name").value, clip_ids: [...selected.keys()] }));
    by("keep-dialog").close();
    say(`Selection ${made.name} has ${count(made.kept, "clip", "clips")} of the ${made.asked} chosen.`);
  } catch (error) {
    if (error.status === 401) askForToken();
    else by("keep-problem").textContent = sentence(error.message);
  }
});

// --- the token, and the beginning -----------------------------------------------------------------------------------

function askForToken() {
  say("");
  by("token-problem").textContent = "";
  if (!by("token-dialog").open) by("token-dialog").showModal();
}

by("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("/api/session", json({ token: by("token").value }));
    by("token").value = "";
    by("token-dialog").close();
    begin();
  } catch (error) {
    by("token-problem").textContent = sentence(error.message);
  }
});

function insertColumn(name) {
  const field = by("where");
  field.setRangeText(name, field.selectionStart, field.selectionEnd, "end");
  field.focus();
}

async function begin() {
  try {
    about = await ask("/api/about");
  } catch (error) {
    return complain(error);
  }
  by("about").textContent = count(about.clips, "clip", "clips");
  by("keep").hidden = !about.may_select;
  by("text").maxLength = about.most_text_characters;
  if (about.sees) {
    by("file").accept = `image/*,${by("file").accept}`;
    by("file-kind").textContent = "A file";
    by("drop-kind").textContent = "a sound, a picture or a video";
  }
  by("column-list").replaceChildren(
    ...Object.entries(about.columns).map(([name, kind]) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: name, title: kind });
      button.addEventListener("click", () => insertColumn(name));
      item.append(button);
      return item;
    }),
  );
  readAddress();
}

by("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
by("subject-clear").addEventListener("click", () => {
  setSubject(null);
  by("text").focus();
});
by("file").addEventListener("change", (event) => {
  takeFile(event.target.files[0]);
  event.target.value = "";
});
by("results").addEventListener("unplayable", () => say("This sound cannot be played.", true));
addEventListener("popstate", readAddress);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select, textarea, dialog")) return;
  event.preventDefault();
  by("text").focus();
});

let dragged = 0;
const hasFile = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => {
  if (hasFile(event)) by("drop").hidden = ++dragged <= 0;
});
addEventListener("dragleave", (event) => {
  if (hasFile(event)) by("drop").hidden = --dragged <= 0;
});
addEventListener("dragover", (event) => {
  if (hasFile(event)) event.preventDefault();
});
addEventListener("drop", (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  dragged = 0;
  by("drop").hidden = true;
  takeFile(event.dataTransfer.files[0]);
});

begin();
