"use strict";
// Adds a folder of class folders to a dataset, in batches. A batch is sent until it has arrived,
// each time under the same Idempotency-Key, so that nothing is added twice.

const LONGEST_WAIT_S = 30;

const freshKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// The answer of one request: its status, 0 without any, and its JSON.
function send(url, token, key, files, onBytes) {
  const form = new FormData();
  form.append("token", token);
  for (const { file, path } of files) form.append(path.at(-2), file, file.name);
  return new Promise((give) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Idempotency-Key", key);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => onBytes(event.loaded));
    request.addEventListener("loadend", () => give({
      status: request.status,
      body: request.response,
      wait: Number(request.getResponseHeader("Retry-After")),
    }));
    request.send(form);
  });
}

// A token of the session as it is now: it may be another one since the page was loaded.
async function freshToken() {
  const answer = await fetch(location.pathname).catch(() => null);
  const text = answer?.ok && !answer.redirected ? await answer.text() : "";
  return new DOMParser().parseFromString(text, "text/html").querySelector("input[name=token]")?.value;
}

class FolderUpload {
  constructor(panel) {
    const part = (name) => panel.querySelector(name);
    this.url = panel.dataset.to;
    this.largest = Number(panel.dataset.largest);
    this.token = document.querySelector("input[name=token]").value;
    this.input = part("input");
    this.plan = part(".plan");
    this.startButton = part(".start");
    this.resumeButton = part(".resume");
    this.bar = part("progress");
    this.counts = part(".counts");
    this.state = part(".state");
    this.refusedTable = part(".refused");
    this.busy = false;
    this.files = [];
    this.input.addEventListener("change", () => this.choose(
      [...this.input.files].map((file) => ({ file, path: file.webkitRelativePath.split("/") }))));
    this.startButton.addEventListener("click", () => this.start());
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", async (event) => {
      event.preventDefault();
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
      if (entries.length && !this.busy) this.choose(await droppedFiles(entries));
    });
    addEventListener("beforeunload", (event) => { if (this.busy) event.preventDefault(); });
    panel.hidden = false;
  }

  choose(found) {
    this.refusedTable.hidden = true;
    this.refusedTable.querySelector("tbody").replaceChildren();
    this.state.textContent = this.counts.textContent = "";
    this.bar.hidden = true;
    this.files = found.filter(({ path }) => !path.some((name) => name.startsWith(".") || IGNORED.has(name)));
    this.files = this.files.filter((one) => {
      const reason = !one.file ? "It cannot be read."
        : one.path.length < 2 ? "It is not in a folder, so it has no class."
        : one.file.size > this.largest ? `It is larger than ${sized(this.largest)}.` : "";
      if (reason) this.refuse(one, reason);
      return !reason;
    });
    const classes = new Map();
    for (const { path } of this.files) classes.set(path.at(-2), (classes.get(path.at(-2)) ?? 0) + 1);
    const names = [...classes].map(([name, count]) => `${name} (${number(count)})`);
    const more = names.length > 12 ? ` and ${names.length - 12} more` : "";
    this.plan.textContent = this.files.length
      ? `${counted(this.files.length, "file")} of ${counted(classes.size, "class", "classes")}, ${sized(sizeOf(this.files))}: ${names.slice(0, 12).join(", ")}${more}`
      : "No class folder has a file.";
    this.startButton.hidden = !this.files.length;
    if (this.files.length) this.startButton.focus();
  }

  refuse({ path }, reason) {
    const row = this.refusedTable.querySelector("tbody").insertRow();
    row.insertCell().textContent = path.join("/");
    row.insertCell().textContent = reason;
    this.refusedTable.hidden = false;
  }

  async start() {
    this.busy = this.input.disabled = true;
    this.startButton.hidden = true;
    this.total = sizeOf(this.files);
    this.done = { files: 0, bytes: 0, created: 0, duplicate: 0, alike: 0, refused: 0 };
    this.bar.max = this.total || 1;
    this.bar.hidden = false;
    this.state.textContent = "Uploading.";
    this.show(0);
    for (const batch of batchesOf(this.files)) await this.sendBatch(batch);
    this.busy = this.input.disabled = false;
    this.input.value = "";
    const { created, duplicate, alike, refused } = this.done;
    this.state.textContent = `Done: ${number(created)} added, ${number(duplicate)} here already, ${number(refused)} refused.`
      + (alike ? ` ${counted(alike, "image looks", "images look")} like an older one.` : "");
    htmx.trigger("#contents", "uploaded");
  }

  show(arriving) {
    const bytes = this.done.bytes + arriving;
    this.bar.value = bytes;
    this.counts.textContent = `${number(this.done.files)} of ${counted(this.files.length, "file")}, ${sized(bytes)} of ${sized(this.total)}`;
  }

  // Sends a batch until there are receipts for it.
  async sendBatch(batch) {
    const all = batch;
    let key = freshKey();
    for (let failures = 0; batch.length; failures++) {
      const size = sizeOf(batch);
      const answer = await send(this.url, this.token, key, batch, (sent) => this.show(Math.min(sent, size)));
      if (answer.status === 200 && answer.body) {
        batch.forEach((one, index) => this.note(one, answer.body[index]));
        break;
      }
      this.show(0);
      const readable = await Promise.all(batch.map(isReadable));
      if (readable.includes(false)) { // changed or deleted since it was chosen
        batch.forEach((one, index) => { if (!readable[index]) this.refuseSent(one, "It can no longer be read."); });
        batch = batch.filter((_, index) => readable[index]);
        key = freshKey();
        continue;
      }
      await this.pause(answer, Math.min(LONGEST_WAIT_S, 2 ** failures));
    }
    this.done.files += all.length;
    this.done.bytes += sizeOf(all);
    this.show(0);
  }

  note(one, receipt) {
    if (receipt.error) {
      this.refuseSent(one, receipt.error.detail);
      return;
    }
    this.done[receipt.outcome] += 1;
    if (receipt.outcome === "created" && receipt.near_duplicate_of) this.done.alike += 1;
  }

  refuseSent(one, reason) {
    this.done.refused += 1;
    this.refuse(one, reason);
  }

  // Waits before the next try: some seconds if it may help, else until somebody resumes.
  async pause({ status, body, wait }, seconds) {
    const passes = status === 0 || body?.retryable;
    const due = passes ? Math.max(seconds, wait) : 0;
    this.state.textContent = status === 0 ? `The connection is lost; trying again in ${due} s.`
      : status === 401 ? "Your session has ended. Sign in again in another tab, then resume here."
      : `${body?.detail ?? `The service answers ${status}.`} ${passes ? `Trying again in ${due} s.` : "Resume when that is fixed."}`;
    this.resumeButton.hidden = false;
    await new Promise((go) => {
      this.resumeButton.addEventListener("click", go, { once: true });
      if (!passes) return;
      addEventListener("online", go, { once: true });
      setTimeout(go, due * 1000);
    });
    this.resumeButton.hidden = true;
    this.token = (status === 401 || status === 403) ? (await freshToken()) ?? this.token : this.token;
    this.state.textContent = "Uploading.";
  }
}

const panel = document.getElementById("upload");
if (panel) new FolderUpload(panel);
