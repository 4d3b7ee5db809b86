// Photos that are dropped, pasted, chosen or taken are sent to the server, a few at a time; each gets a card.
"use strict";

const AT_A_TIME = 3;
const SHOWN_CLASSES = 5;
const MAX_BYTES = 20_000_000;
const MAX_TRIES = 10;

const element = (id) => document.getElementById(id);
const answers = element("answers");
const waiting = [];
let underWay = 0;

fetch("info").then((response) => response.json()).then(({ classes }) => {
  const named = classes.slice(0, 12).join(", ");
  element("classes").textContent = `${classes.length} classes: ${named}${classes.length > 12 ? ", …" : ""}`;
}).catch(() => {
  element("classes").textContent = "The server does not answer. Reload the page to try again.";
});

function percent(probability) {
  const rounded = (100 * probability).toFixed(1);
  return rounded === "100.0" && probability < 1 ? "> 99.9 %" : `${rounded} %`;
}

// Adds a card for each photo, the first one on top, and begins to send.
function add(files) {
  const cards = [...files].map((file) => {
    const card = element("card").content.firstElementChild.cloneNode(true);
    const image = card.querySelector("img");
    image.src = URL.createObjectURL(file);
    image.alt = file.name;
    image.addEventListener("error", () => {
      URL.revokeObjectURL(image.src);
      image.replaceWith("no preview");
    });
    card.querySelector(".name").textContent = file.name;
    card.querySelector(".top").textContent = "Waiting …";
    waiting.push({ file, card });
    return card;
  });
  answers.prepend(...cards);
  showHeading();
  for (let k = underWay; k < AT_A_TIME; k++) sendNext();
}

async function sendNext() {
  const next = waiting.shift();
  if (!next) return;
  underWay++;
  const { file, card } = next;
  try {
    const answer = await ask(file);
    show(card, file, answer);
  } catch {
    show(card, file, { error: "did not reach the server" });
  }
  underWay--;
  sendNext();
}

// As a list of one picture, so that a picture that cannot be used is an answer as well.
async function ask(file) {
  if (file.size > MAX_BYTES) return { error: `has more than ${MAX_BYTES / 1e6} MB` };
  const form = new FormData();
  form.append("images", file);
  for (let tries = 1; ; tries++) {
    const response = await fetch("predict", { method: "POST", body: form });
    const body = await response.json();
    if (response.ok) return body.results[0];
    if (response.status !== 429 || tries === MAX_TRIES) return { error: `was not taken: ${body.error}` };
    const seconds = Number(response.headers.get("retry-after")) || 1;
    await new Promise((wake) => setTimeout(wake, 1000 * seconds));
  }
}

function show(card, file, answer) {
  const said = answer.error ? showError(card, answer.error) : showClasses(card, answer);
  card.querySelector(".answer").setAttribute("aria-busy", "false");
  element("spoken").textContent = `${file.name}: ${said}`;
}

function showError(card, error) {
  card.classList.add("failed");
  card.querySelector(".top").textContent = "No answer";
  note(card, sentence(error));
  return `no answer, ${error}`;
}

// Most errors go on after the photo's name, as in "is not a picture"; some begin with its size or with "its".
function sentence(error) {
  if (/^\d+ x \d+ pixels,/.test(error)) return `It has ${error}`;
  if (/^\d/.test(error)) return error;
  return error.startsWith("its ") ? `I${error.slice(1)}` : `This file ${error}`;
}

function showClasses(card, { predictions, top_class, top_probability, unfamiliar }) {
  const ranked = Object.entries(predictions).sort((a, b) => b[1] - a[1]);
  const [table, more] = card.querySelectorAll("table");
  table.querySelector("tbody").append(...ranked.slice(0, SHOWN_CLASSES).map(row));
  table.hidden = false;
  if (ranked.length > SHOWN_CLASSES) {
    more.querySelector("tbody").append(...ranked.slice(SHOWN_CLASSES).map(row));
    card.querySelector("summary").textContent = `${ranked.length - SHOWN_CLASSES} more`;
    card.querySelector("details").hidden = false;
  }
  if (unfamiliar) {
    card.classList.add("unfamiliar");
    card.querySelector(".top").textContent = "Unfamiliar";
    note(card, "Unlike all training photos: the classes mean little here.");
    return "unfamiliar";
  }
  card.querySelector(".top").textContent = top_class;
  return `${top_class}, ${percent(top_probability)}`;
}

function row([name, probability]) {
  const row = document.createElement("tr");
  const [title, bar, number] = ["th", "td", "td"].map((tag) => document.createElement(tag));
  title.scope = "row";
  title.textContent = name;
  const [track, fill] = [document.createElement("span"), document.createElement("span")];
  track.className = "track";
  fill.className = "fill";
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  bar.append(track);
  number.textContent = percent(probability);
  row.append(title, bar, number);
  return row;
}

function note(card, text) {
  const note = card.querySelector(".note");
  note.textContent = text;
  note.hidden = false;
}

function showHeading() {
  const empty = answers.children.length === 0;
  element("answers-title").hidden = element("clear").hidden = empty;
}

for (const id of ["choose", "camera"]) {
  element(id).addEventListener("change", ({ target }) => {
    add(target.files);
    // The same photo may be chosen again.
    target.value = "";
  });
}

element("clear").addEventListener("click", () => {
  waiting.length = 0;
  for (const image of answers.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  answers.replaceChildren();
  showHeading();
  element("choose").focus();
});

document.addEventListener("paste", ({ clipboardData }) => add(clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add(event.dataTransfer.files);
});
