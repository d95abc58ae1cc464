"use strict";
// What pages do beyond links and forms; every page also works without it.

// Each command gets a button that copies it.
function addCopyButtons(root) {
  for (const block of root.querySelectorAll("pre.command:not(.copied)")) {
    block.classList.add("copied");
    if (!navigator.clipboard) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "second";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.append(button);
  }
}

addCopyButtons(document);
document.addEventListener("htmx:load", (event) => addCopyButtons(event.target));

// The page of a job that runs: each event of its stream has the panel loaded again. A lost stream is
// opened again behind the last event that arrived: by the browser, or here if it has given up.
const REOPEN_MS = 3000;

function followJob(line) {
  const url = new URL(line.dataset.follow, location);
  let source = null, due = null;
  const say = (text) => { if (line.textContent !== text) line.textContent = text; };
  const refresh = (wait) => {
    clearTimeout(due);
    due = setTimeout(() => htmx.trigger("#job", "job-event"), wait);
  };
  const open = () => {
    source = new EventSource(url);
    source.addEventListener("open", () => {
      say("Live: this page follows the job.");
      document.getElementById("notice").replaceChildren(); // of a refresh that failed meanwhile
    });
    source.addEventListener("error", () => {
      say("The connection is lost; trying again.");
      if (source.readyState !== EventSource.CLOSED) return;
      refresh(0); // leads to the form to sign in if the session has ended
      setTimeout(open, REOPEN_MS);
    });
    for (const kind of line.dataset.kinds.split(" ")) {
      source.addEventListener(kind, (event) => {
        if (event.lastEventId) url.searchParams.set("after", event.lastEventId);
        refresh(300);
        if (kind === "done") { source.close(); say("The job has ended."); }
      });
    }
  };
  open();
  document.addEventListener("htmx:afterSettle", () => {
    const { said, title } = document.getElementById("job").dataset;
    document.title = title;
    if (source.readyState === EventSource.OPEN) say(`Live: ${said}.`);
  });
  addEventListener("pagehide", () => source.close());
}

const line = document.querySelector("[data-follow]");
if (line) followJob(line);

// A form that takes an image: dropped anywhere on the page, and shown before it is sent.
function takeDrops(form) {
  const input = form.querySelector("input[type=file]");
  const preview = form.querySelector(".preview");
  input.addEventListener("change", () => {
    const [file] = input.files;
    URL.revokeObjectURL(preview.src);
    preview.hidden = !file;
    if (file) preview.src = URL.createObjectURL(file);
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer.files.length) return;
    const first = new DataTransfer();
    first.items.add(event.dataTransfer.files[0]);
    input.files = first.files;
    input.dispatchEvent(new Event("change"));
    form.requestSubmit();
  });
}

const dropping = document.querySelector("form[data-drop]");
if (dropping) takeDrops(dropping);

// A form with boxes to choose: all or none at once, and how many are chosen.
function countChosen(form) {
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const all = form.querySelector("[data-all]"), count = form.querySelector("[data-count]");
  const every = () => boxes.every((box) => box.checked);
  const say = () => {
    all.textContent = every() ? "Choose none" : "Choose all";
    count.textContent = `${boxes.filter((box) => box.checked).length} chosen`;
  };
  all.addEventListener("click", (event) => {
    event.preventDefault();
    const chosen = !every();
    for (const box of boxes) box.checked = chosen;
    say();
  });
  form.addEventListener("change", say);
  say();
}

const choosing = document.querySelector("form[data-choose]");
if (choosing) countChosen(choosing);

// A page that answers a form has the address of the page that the form was on: to come back to it, or
// to load it again, sends nothing twice.
const answer = document.querySelector("[data-address]");
if (answer) history.replaceState(null, "", answer.dataset.address);
