// One sound at a time: what plays, where it is, and the picture that runs with it.

const sound = new Audio();
sound.preload = "auto";
let current = null;

/** The media of a clip. */
export function addressOf(clipId, what) {
  return `/api/clips/${encodeURIComponent(clipId)}/${what}`;
}

/** Seconds as 1:02.3. */
export function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

/** Make the card of a clip play it: its button, its picture as a slider, and its film if it has one. */
export function attach(card, hit) {
  const player = {
    card,
    hit,
    length: hit.duration_s,
    button: card.querySelector(".play"),
    slider: card.querySelector(".picture"),
    head: card.querySelector(".head"),
    film: hit.has_video ? card.querySelector("video") : null,
  };
  const name = hit.caption || hit.clip_id;
  player.button.setAttribute("aria-label", `Play: ${name}`);
  player.slider.setAttribute("aria-label", `Place in: ${name}`);
  player.slider.setAttribute("aria-valuemax", hit.duration_s.toFixed(1));
  show(player, hit.start_s);
  player.button.addEventListener("click", () => toggle(player));
  player.slider.addEventListener("click", (event) => {
    const box = player.slider.getBoundingClientRect();
    playFrom(player, ((event.clientX - box.left) / box.width) * player.length);
  });
  player.slider.addEventListener("keydown", (event) => onKey(event, player));
}

/** Stop what plays. */
export function stop() {
  sound.pause();
}

function onKey(event, player) {
  const place = current === player ? sound.currentTime : player.hit.start_s;
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 };
  if (event.key in steps) seek(player, place + steps[event.key]);
  else if (event.key === "Home") seek(player, 0);
  else if (event.key === "End") seek(player, player.length - 0.1);
  else if (event.key === " " || event.key === "Enter") toggle(player);
  else return;
  event.preventDefault();
}

function toggle(player) {
  if (current === player && !sound.paused) sound.pause();
  else if (current === player && !sound.ended) sound.play();
  else playFrom(player, player.hit.start_s);
}

function playFrom(player, seconds) {
  seek(player, seconds);
  sound.play().catch((error) => {
    if (error.name !== "AbortError") player.card.dispatchEvent(new CustomEvent("unplayable", { bubbles: true }));
  });
}

function seek(player, seconds) {
  const place = Math.min(Math.max(seconds, 0), Math.max(player.length - 0.05, 0));
  if (current !== player) {
    if (current) leave(current);
    current = player;
    sound.src = addressOf(player.hit.clip_id, "sound");
    player.card.classList.add("is-loaded");
  }
  sound.currentTime = place;
  if (player.film) player.film.currentTime = place;
  show(player, place);
}

function leave(player) {
  player.card.classList.remove("is-loaded", "is-playing");
  player.button.setAttribute("aria-pressed", "false");
  player.film?.pause();
  show(player, player.hit.start_s);
}

function show(player, seconds) {
  player.head.style.left = `${(100 * seconds) / player.length}%`;
  player.slider.setAttribute("aria-valuenow", seconds.toFixed(1));
  player.slider.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(player.length)}`);
}

function follow() {
  if (!current) return;
  show(current, Math.min(sound.currentTime, current.length));
  const film = current.film;
  if (film && Math.abs(film.currentTime - sound.currentTime) > 0.15) film.currentTime = sound.currentTime;
  if (!sound.paused) requestAnimationFrame(follow);
}

sound.addEventListener("durationchange", () => {
  if (current && Number.isFinite(sound.duration) && sound.duration > 0) current.length = sound.duration;
});
sound.addEventListener("play", () => {
  if (!current) return;
  current.card.classList.add("is-playing");
  current.button.setAttribute("aria-pressed", "true");
  current.film?.play().catch(() => {});
  follow();
});
for (const kind of ["pause", "ended"]) {
  sound.addEventListener(kind, () => {
    if (!current) return;
    current.card.classList.remove("is-playing");
    current.button.setAttribute("aria-pressed", "false");
    current.film?.pause();
  });
}
